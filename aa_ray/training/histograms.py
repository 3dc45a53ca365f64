"""The distribution of the inputs that each rational activation sees."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext

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

    Looks at up to 256 of the examples, with the current weights of the context's trial, in
    evaluation: the rational of an unselected layer is not used, and has no histogram.
    """
    trial_model = context.trial_model
    if not trial_model.rationals:
        return {}
    in_use = trial_model.layers if trial_model.selected is None else trial_model.selected
    inputs: dict[int, list[Tensor]] = {layer: [] for layer in in_use}
    is_real = torch.empty(0)

    def keep(layer: int, _: Any, units: Tensor) -> None:
        if layer in inputs:
            inputs[layer].append(units[0][is_real].flatten().float().cpu())

    bert.eval()
    with torch.inference_mode():
        size = min(EXAMPLES, len(examples))
        for start in range(0, size, BATCH_SIZE):
            indices = np.arange(start, min(start + BATCH_SIZE, size))
            batch, _ = unpadded.pack([examples], [indices], bert.device)
            is_real = batch.example_of_token[0] >= 0  # not the spare ones
            side_by_side.forward(bert, batch, [context], observe=keep)
    return {layer: _histogram(torch.cat(parts)) for layer, parts in inputs.items() if parts}


def _histogram(values: Tensor) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, BINS, min=low, max=high)
    return Histogram(low, high, counts.long().tolist())
