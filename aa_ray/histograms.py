"""The distribution of the inputs that each rational activation sees."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray import model
from aa_ray.batches import Examples

BINS = 64
EXAMPLES = 256


class Histogram(NamedTuple):
    """Counts in ``BINS`` equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: list[int]


def of_inputs(
    bert: BertForSequenceClassification, examples: Examples, batch_size: int
) -> dict[int, Histogram]:
    """Layer -> histogram of its rational's inputs, one per token (padding left out) and unit.

    Looks at up to 256 of the examples, with the weights that the model has now, in evaluation: the
    rational of an unselected layer is not computed, and has no histogram.
    """
    rationals = model.rationals(bert)
    if not rationals:
        return {}
    seen: dict[int, list[Tensor]] = {layer: [] for layer in rationals}
    mask = torch.empty(0)

    def keep(layer: int, _: Any, inputs: tuple[Tensor, ...]) -> None:
        seen[layer].append(inputs[0][mask].flatten().float().cpu())  # [tokens, units] -> [all]

    hooks = [r.register_forward_pre_hook(partial(keep, i)) for i, r in rationals.items()]
    try:
        bert.eval()
        with torch.inference_mode():
            for start in range(0, min(EXAMPLES, len(examples)), batch_size):
                chosen = np.arange(start, min(start + batch_size, EXAMPLES, len(examples)))
                inputs, _ = examples.batch(chosen, bert.device)
                mask = inputs["attention_mask"].bool()
                bert(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: _histogram(torch.cat(parts)) for layer, parts in seen.items() if parts}


def _histogram(values: Tensor) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, BINS, min=low, max=high)
    return Histogram(low, high, counts.long().tolist())
