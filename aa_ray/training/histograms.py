"""The distribution of the inputs that each rational activation sees."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.side_by_side import TrialContext

BINS = 64
EXAMPLES = 256
BATCH_SIZE = 32


class Histogram(NamedTuple):
    """Counts in ``BINS`` equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: list[int]


def of_inputs(
    bert: BertForSequenceClassification, context: TrialContext, examples: Examples
) -> dict[int, Histogram]:
    """Layer -> histogram of its rational's inputs, one per token and unit.

    Looks at up to 256 of the examples, with the weights that the context's trial_model has now, in
    evaluation: the rational of an unselected layer is not used, and has no histogram.
    """
    if not context.trial_model.rationals:
        return {}
    seen: dict[int, list[Tensor]] = {}
    real = torch.empty(0)

    def keep(layer: int, _: Any, units: Tensor) -> None:
        if layer in in_use:
            seen.setdefault(layer, []).append(units[0][real].flatten().float().cpu())

    selected = context.trial_model.selected
    in_use = context.trial_model.layers if selected is None else selected
    bert.eval()
    with torch.inference_mode():
        for start in range(0, min(EXAMPLES, len(examples)), BATCH_SIZE):
            chosen = np.arange(start, min(start + BATCH_SIZE, EXAMPLES, len(examples)))
            batch, _ = unpadded.pack([examples], [chosen], bert.device)
            real = batch.membership[0].any(dim=1)  # not the spare ones
            side_by_side.forward(bert, batch, [context], observe=keep)
    return {layer: _histogram(torch.cat(parts)) for layer, parts in seen.items()}


def _histogram(values: Tensor) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, BINS, min=low, max=high)
    return Histogram(low, high, counts.long().tolist())
