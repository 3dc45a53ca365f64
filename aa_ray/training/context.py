"""A trial and its role in one batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from aa_ray.core.model import TrialModel
from aa_ray.trial import Trial

# Types of trials (rational, switched) in the order in which they are computed.
KINDS = ((True, False), (True, True), (False, True), (False, False))


@dataclass(frozen=True, eq=False)
class TrialContext:
    """A trial's model, with the settings for its examples of a batch.

    Attributes:
        first_layer: adapters of layers below this one are skipped (AdapterDrop).
        noise: layer -> Gumbel noise [B, 2] in training; None in evaluation, where the larger logit
            decides.
    """

    trial_model: TrialModel
    first_layer: int = 0
    noise: dict[int, Tensor] | None = None

    def adapts(self, layer: int) -> bool:
        """Whether the trial has an adapter in the layer and does not skip it."""
        return layer >= self.first_layer and layer in self.trial_model.layers

    @property
    def lowest(self) -> float:
        """The first layer with an adapter in use; infinity if there is none."""
        layers = (layer for layer in self.trial_model.layers if layer >= self.first_layer)
        return min(layers, default=torch.inf)


def sort_key(trial: Trial) -> tuple[int, float]:
    """Sort key that puts trials with a rational next to each other, and trials with a switch too.

    Trials without adapters in the lowest layers come first or last. So the trials with an adapter
    in a given layer are adjacent, and can be selected without a copy.

    ``side_by_side.forward`` accepts contexts in any order and computes adjacent adapters with equal
    settings together. The order decides which random numbers of dropout a trial gets.
    """
    kind = KINDS.index((trial.rational, trial.switched))
    lowest = min(trial.layers, default=math.inf)
    return kind, -lowest if kind == 0 else lowest
