"""One trial's way through its epochs: its optimiser, its losses, its best epochs, and its state."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from aa_ray.core.model import TrialModel
from aa_ray.data.batches import Examples
from aa_ray.data.tasks import Task
from aa_ray.training.context import TrialContext


class Parts(NamedTuple):
    """The examples that a trial trains on and develops with."""

    train: Examples
    development: Examples


@dataclass
class Epoch:
    """What was measured after an epoch (epoch 0: before training, no losses and scores).

    Attributes:
        train_loss: mean over the epoch's steps.
        development: inference depth -> scores by metric name.
        logits: layer -> switch logits (identity, adapter).
        numerators, denominators: layer -> rational coefficients.
    """

    epoch: int
    train_loss: float | None = None
    development: dict[int, dict[str, float]] = field(default_factory=dict)
    logits: dict[int, list[float]] = field(default_factory=dict)
    numerators: dict[int, list[float]] = field(default_factory=dict)
    denominators: dict[int, list[float]] = field(default_factory=dict)


@dataclass
class Best:
    """The best epoch so far of one inference depth."""

    epoch: int = 0
    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainerState:
    """What one trial needs to go on after its last epoch.

    Attributes:
        history: one entry per epoch so far.
        best: inference depth -> its best epoch so far.
        weights: name -> value of every trained parameter.
        optimizer: index of the parameter in Adam's groups -> its moments and step count.
        generator: state of the trial's generator.
        error: why the trial has ended early; None while it goes on.
    """

    history: list[Epoch]
    best: dict[int, Best]
    weights: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    generator: Tensor
    error: str | None


class TrialTrainer:
    """One trial's way through its epochs.

    Attributes:
        history: one entry per epoch so far; entry 0 is the state before training.
        best: inference depth -> its best epoch so far.
        depths: inference depths to evaluate, in layers from the top; see ``Trial.depths``.
        error: why it has ended early; None while all is well.
        first_layer: the first layer whose adapter the last training step used.
    """

    def __init__(self, trial_model: TrialModel, task: Task, parts: Parts, num_layers: int) -> None:
        self.trial_model = trial_model
        self.trial = trial_model.trial
        self.task = task
        self.parts = parts
        self.num_layers = num_layers
        self.depths = self.trial.depths(num_layers)
        self.best = {depth: Best() for depth in self.depths}
        self.history = [self._describe(epoch=0)]
        self.error: str | None = None
        self.first_layer = 0
        self.losses: list[Tensor] = []
        self.optimizer, self.decay = optimisation(trial_model, len(parts.train))

    def context(self, batch: int) -> TrialContext:
        """For the next training step: what it skips, and its switches' noise, are drawn here."""
        if self.trial.inference_depths is not None:
            self.first_layer = min(self._skipped(), self.num_layers)
        device = next(self.trial_model.classifier.parameters()).device
        noise = self.trial_model.draw_gumbel(batch, device)
        return TrialContext(self.trial_model, self.first_layer, noise)

    def _skipped(self) -> int:
        """How many of the first layers a step of AdapterDrop skips, drawn uniformly.

        0..L-1 (Rücklé et al. 2021); in the released code 0..10 for every number of layers.
        """
        choices = self.num_layers if self.trial.drop_range == "layers" else 11
        return int(torch.randint(choices, (), generator=self.trial_model.generator))

    def step(self) -> None:
        """Clip the gradients that are there, and take a step of Adam."""
        nn.utils.clip_grad_norm_(self.trial_model.parameters(), self.trial.max_gradient_norm)
        self.optimizer.step()
        self.decay.step()
        self.optimizer.zero_grad()

    def close_epoch(self, epoch: int) -> None:
        """Note the state and the mean loss; a loss that is not finite ends the trial."""
        losses = torch.stack(self.losses).tolist()
        self.losses = []
        entry = self._describe(epoch)
        entry.train_loss = float(np.mean(losses))
        self.history.append(entry)
        for step, loss in enumerate(losses, 1):
            if not math.isfinite(loss):
                self.error = (
                    f"the training loss became {loss} in epoch {epoch}, step {step}; "
                    "try lower learning rates"
                )
                return

    def developed(self, depth: int, scores: dict[str, float]) -> None:
        """Note the development scores of the last epoch, and its weights if they are the best."""
        self.history[-1].development[depth] = scores
        score = scores[self.task.metrics[0]]
        if score > self.best[depth].score:
            self.best[depth] = Best(len(self.history) - 1, score, self.trial_model.snapshot())

    def restore_best(self, depth: int) -> None:
        """Put the best epoch's weights back."""
        weights = self.best[depth].weights
        if self.trial.restored_switches == "last":  # the released code's checkpoints lack them
            weights = {name: v for name, v in weights.items() if not name.endswith(".logits")}
        self.trial_model.restore(weights)

    def _describe(self, epoch: int) -> Epoch:
        """The state of switches and rationals after an epoch."""
        trial_model = self.trial_model
        switched = trial_model.layers if self.trial.switched else []
        rationals = trial_model.rationals.items()
        return Epoch(
            epoch,
            logits={layer: trial_model.switch(layer).logits.tolist() for layer in switched},
            numerators={layer: r.numerator.tolist() for layer, r in rationals},
            denominators={layer: r.denominator.tolist() for layer, r in rationals},
        )

    def state(self) -> TrainerState:
        """A copy of all that is needed to go on."""
        moments = self.optimizer.state_dict()["state"]
        return TrainerState(
            self.history, self.best, self.trial_model.snapshot(), moments,
            self.trial_model.generator.get_state(), self.error,
        )  # fmt: skip

    def resume(self, state: TrainerState) -> None:
        """Put weights, Adam's moments, the decay of the learning rates and random state back."""
        self.history, self.best, self.error = state.history, state.best, state.error
        self.trial_model.restore(state.weights)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        steps = math.ceil(len(self.parts.train) / self.trial.batch_size)
        done = (len(self.history) - 1) * steps
        self.decay.load_state_dict(
            {**self.decay.state_dict(), "last_epoch": done, "_step_count": done + 1}
        )
        for group, rate in zip(self.optimizer.param_groups, self.decay.base_lrs, strict=True):
            group["lr"] = rate * self.decay.lr_lambdas[0](done)
        self.trial_model.generator.set_state(state.generator)


def optimisation(
    trial_model: TrialModel, examples: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Adam with the trial's three rates, and their linear decay to 0 over all of its steps."""
    steps = trial_model.trial.epochs * math.ceil(examples / trial_model.trial.batch_size)
    optimizer = torch.optim.Adam(trial_model.parameter_groups())
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
