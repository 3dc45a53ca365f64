"""The weights of a trained trial, which rows do not hold."""

from dataclasses import dataclass

from torch import Tensor

from aa_ray.core import adaptable_config
from aa_ray.training.trainer import TrialTrainer
from aa_ray.trial import Trial


@dataclass(frozen=True)
class Trained:
    """The result of a training run: everything needed to build its adapter.

    Attributes:
        depth: number of last layers whose adapters are used; all layers except for AdapterDrop.
        weights: ``TrialModel.snapshot`` with which the trial was tested.
        selected: the layers whose switch picks the adapter; None without switches.
    """

    trial: Trial
    num_layers: int
    depth: int
    weights: dict[str, Tensor]
    selected: list[int] | None

    @property
    def layers(self) -> list[int]:
        """The layers that keep their trained adapter."""
        used = [i for i in self.trial.layers if i >= self.num_layers - self.depth]
        return used if self.selected is None else [i for i in used if i in self.selected]

    @property
    def identities(self) -> list[int]:
        """The layers that compute LN(x + h + i), since their switch did not pick the adapter."""
        if self.selected is None or self.trial.switch_identity == "plain":
            return []
        return [layer for layer in self.trial.layers if layer not in self.selected]

    @property
    def non_linearity(self) -> str | None:
        """AdapterHub's name of the activation; None if no layer keeps its trained adapter."""
        return adaptable_config.non_linearity(self.trial) if self.layers else None

    @property
    def rationals(self) -> dict[int, dict[str, list[float]]]:
        """Layer -> ``numerator`` a0..a5 and ``denominator`` b1..b4; empty without rationals."""
        coefficients: dict[int, dict[str, list[float]]] = {}
        if self.trial.rational:
            for name, value in self.weights.items():
                *path, last = name.split(".")
                wanted = path[0] == "adapters" and last in ("numerator", "denominator")
                if wanted and int(path[1]) in self.layers:
                    coefficients.setdefault(int(path[1]), {})[last] = value.tolist()
        return coefficients


class Taker:
    """Copies a trial's weights when they are tested; a ``loop.Listener``.

    Attributes:
        taken: the copy; None before the test.
    """

    def __init__(self, trial: Trial, depth: int) -> None:
        self.trial, self.depth = trial, depth
        self.taken: Trained | None = None

    def after_epoch(self, trainer: TrialTrainer) -> None:
        """Do nothing, since there is nothing to copy yet."""

    def after_test(self, trainer: TrialTrainer, depth: int) -> None:
        if trainer.trial != self.trial or depth != self.depth:
            return
        weights = {name: value.cpu() for name, value in trainer.trial_model.snapshot().items()}
        self.taken = Trained(
            self.trial, trainer.num_layers, depth, weights, trainer.trial_model.selected
        )
