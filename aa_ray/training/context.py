"""A trial's part of a batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from aa_ray.core.model import TrialModel
from aa_ray.trial import Trial

# Of trials, in the order in which they are computed: (rational, switched).
KINDS = ((True, False), (True, True), (False, True), (False, False))


@dataclass(frozen=True, eq=False)
class TrialContext:
    """A trial's model, and how it computes on its examples of a batch.

    Attributes:
        first_layer: adapters of layers below are skipped (AdapterDrop).
        noise: layer -> Gumbel noise [B, 2] in training; None in evaluation, where the larger logit
            decides.
    """

    trial_model: TrialModel
    first_layer: int = 0
    noise: dict[int, Tensor] | None = None

    def adapts(self, layer: int) -> bool:
        """Whether it has an adapter in the layer, and does not skip it."""
        return layer >= self.first_layer and layer in self.trial_model.layers

    @property
    def lowest(self) -> float:
        """The first layer that adapts; infinity if none does."""
        layers = (layer for layer in self.trial_model.layers if layer >= self.first_layer)
        return min(layers, default=torch.inf)


def sort_key(trial: Trial) -> tuple[int, float]:
    """Puts trials with a rational next to each other, and trials with a switch too.

    Those without adapters in the lowest layers come outermost, so that those with an adapter in a
    layer are neighbours, which are gathered without a copy.

    ``side_by_side.forward`` takes contexts in any order, and computes adapters of equal settings
    that stand next to each other in one go. The order decides which random numbers of dropout a
    trial gets.
    """
    kind = KINDS.index((trial.rational, trial.switched))
    lowest = min(trial.layers, default=math.inf)
    return kind, -lowest if kind == 0 else lowest
