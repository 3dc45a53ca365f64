"""Trains one trial over its epochs: losses, best epochs, and state."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from aa_ray.core.model import TrialModel
from aa_ray.data.batches import Examples
from aa_ray.data.tasks import Task
from aa_ray.training.context import TrialContext
from aa_ray.training.optimizers import Moments, Schedule, num_steps


class Parts(NamedTuple):
    """The training and development examples of a trial."""

    train: Examples
    development: Examples


class Draw(NamedTuple):
    """The random draws of a trial for a training step.

    Attributes:
        first_layer: the first layer whose adapter it uses (AdapterDrop).
        noise: Gumbel noise of its switches [layers, B, 2], on the CPU; None without switches.
    """

    first_layer: int
    noise: Tensor | None


class Optimizer(Protocol):
    """The optimizer of a trial."""

    def moments(self) -> Moments:
        """A copy of the trial's moments."""

    def release(self) -> None:
        """End the trial's training; its modules then own their parameters again."""


@dataclass
class Epoch:
    """Measurements after an epoch (epoch 0: before training, without losses and scores).

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
    """Everything that a trial needs to continue after its last step.

    Attributes:
        history: one entry per epoch so far.
        best: inference depth -> its best epoch so far.
        weights: name -> value of each trained parameter.
        optimizer: index of the parameter in Adam's groups -> its moments and step count.
        generator: state of the trial's generator.
        error: why the trial ended early; None while it is running.
        losses: losses of the steps taken in an unfinished epoch.
    """

    history: list[Epoch]
    best: dict[int, Best]
    weights: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    generator: Tensor
    error: str | None
    losses: list[float] = field(default_factory=list)


class TrialTrainer:
    """Trains one trial over its epochs.

    Attributes:
        history: one entry per epoch so far; entry 0 is the state before training.
        best: inference depth -> its best epoch so far.
        depths: inference depths to evaluate, in layers from the top; see ``Trial.depths``.
        error: why it ended early; None otherwise.
        first_layer: the first layer whose adapter the last training step used.
        steps_taken: number of steps taken in the unfinished epoch.
        losses: losses of these steps; the last ones may still be on the device.
        optimizer: its optimizer; None before training.
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
        self.steps_taken = 0
        self.losses: list[float] = []
        self.optimizer: Optimizer | None = None
        self._moments: Moments = {}  # moments of the state from which it continues

    @property
    def schedule(self) -> Schedule:
        """The schedule of its learning rates from the next step on: linear decay to 0."""
        steps = num_steps(len(self.parts.train), self.trial.batch_size)
        done = (len(self.history) - 1) * steps + self.steps_taken
        return Schedule(done, self.trial.epochs * steps)

    def moments(self) -> Moments:
        """A copy of Adam's moments; empty before the first step."""
        return self._moments if self.optimizer is None else self.optimizer.moments()

    def draw(self, batch: int) -> Draw:
        """Draw the skipped layers and the switches' noise for the next training step."""
        if self.trial.inference_depths is not None:
            self.first_layer = min(self._skipped(), self.num_layers)
        return Draw(self.first_layer, self.trial_model.sample_gumbel(batch))

    def context(self, batch: int) -> TrialContext:
        """The context for the next training step, with its random draws."""
        first_layer, noise = self.draw(batch)
        device = next(self.trial_model.classifier.parameters()).device
        return TrialContext(self.trial_model, first_layer, self.trial_model.by_layer(noise, device))

    def _skipped(self) -> int:
        """The number of first layers that a step of AdapterDrop skips, drawn uniformly.

        From 0..L-1 (Rücklé et al. 2021); in the released code from 0..10 for any L.
        """
        choices = self.num_layers if self.trial.drop_range == "layers" else 11
        return int(torch.randint(choices, (), generator=self.trial_model.generator))

    def close_epoch(self, epoch: int) -> None:
        """Record the state and the mean loss; a loss that is not finite ends the trial."""
        losses, self.losses, self.steps_taken = self.losses, [], 0
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
        """Record the development scores of the last epoch, and its weights if it is the best."""
        self.history[-1].development[depth] = scores
        score = scores[self.task.metrics[0]]
        if score > self.best[depth].score:
            self.best[depth] = Best(len(self.history) - 1, score, self.trial_model.snapshot())

    def restore_best(self, depth: int) -> None:
        """Restore the best epoch's weights."""
        weights = self.best[depth].weights
        if self.trial.restored_switches == "last":  # the released code does not save switches
            weights = {name: v for name, v in weights.items() if not name.endswith(".logits")}
        self.trial_model.restore(weights)

    def _describe(self, epoch: int) -> Epoch:
        """The state of switches and rationals after an epoch, read from the device in one copy."""
        trial_model = self.trial_model
        switched = trial_model.layers if self.trial.switched else []
        rationals = trial_model.rationals.items()
        tensors = [trial_model.switch(layer).logits for layer in switched]
        tensors += [p for _, r in rationals for p in (r.numerator, r.denominator)]
        if not tensors:
            return Epoch(epoch)
        values = torch.cat([tensor.detach() for tensor in tensors]).cpu()
        lists = iter([part.tolist() for part in values.split([len(t) for t in tensors])])
        entry = Epoch(epoch, logits={layer: next(lists) for layer in switched})
        for layer, _ in rationals:
            entry.numerators[layer], entry.denominators[layer] = next(lists), next(lists)
        return entry

    def state(self) -> TrainerState:
        """A copy of everything needed to continue."""
        return TrainerState(
            self.history, self.best, self.trial_model.snapshot(), self.moments(),
            self.trial_model.generator.get_state(), self.error, list(self.losses),
        )  # fmt: skip

    def resume(self, state: TrainerState) -> None:
        """Restore weights, Adam's moments and random state."""
        self.history, self.best, self.error = state.history, state.best, state.error
        self.losses, self.steps_taken = list(state.losses), len(state.losses)
        self.trial_model.restore(state.weights)
        self.optimizer, self._moments = None, state.optimizer
        self.trial_model.generator.set_state(state.generator)
