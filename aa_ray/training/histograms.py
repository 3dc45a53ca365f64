"""The distribution of the inputs of each rational activation."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aa_ray.data.batches import Examples
from aa_ray.training.context import TrialContext
from aa_ray.training.engine import Engine

BINS = 64
EXAMPLES = 256
BATCH_SIZE = 32


class Histogram(NamedTuple):
    """Counts in ``BINS`` equal bins from ``low`` to ``high``."""

    low: float
    high: float
    counts: list[int]


def of_inputs(engine: Engine, context: TrialContext, examples: Examples) -> dict[int, Histogram]:
    """Layer -> histogram of its rational's inputs, one per token and unit.

    Uses up to 256 of the examples and the current weights of the context's trial, in evaluation
    mode. The rational of an unselected layer is not used and has no histogram.
    """
    trial_model = context.trial_model
    if not trial_model.rationals:
        return {}
    in_use = trial_model.layers if trial_model.selected is None else trial_model.selected
    inputs: dict[int, list[Tensor]] = {layer: [] for layer in in_use}
    engine.encoder.eval()
    with torch.inference_mode():
        size = min(EXAMPLES, len(examples))
        for start in range(0, size, BATCH_SIZE):
            indices = np.arange(start, min(start + BATCH_SIZE, size))
            batch, _ = engine.pack([examples], [indices])
            for layer, units in engine.rational_inputs(batch, context).items():
                if layer in inputs:
                    inputs[layer].append(units.flatten().float().cpu())
    return {layer: _histogram(torch.cat(parts)) for layer, parts in inputs.items() if parts}


def _histogram(values: Tensor) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values, BINS, min=low, max=high)
    return Histogram(low, high, counts.long().tolist())
