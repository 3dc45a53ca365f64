"""The training steps of an array (trials side by side) in the engine ``fused``.

Everything that stays the same between steps is computed once: the stacked parameters
(``stacked_parameters``), which trials adapt which layers, and where gradients are stored. Random
numbers and inputs are prepared for many steps and sent to the device together. So a step needs
little work on the host, and never waits for the device.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from aa_ray.core import heads, model
from aa_ray.training import transfer, unpadded
from aa_ray.training.held_rows import HeldRows, HeldSwitches
from aa_ray.training.optimizers import Moments, Schedule, StackedAdam
from aa_ray.training.side_by_side import classify, embedded, layer_output, pooled_output
from aa_ray.training.stacked_parameters import Leaf, StackedParameters
from aa_ray.training.trainer import TrialTrainer
from aa_ray.training.unpadded import Packed


class StackedBatch(NamedTuple):
    """The inputs of a training step.

    Attributes:
        packed: the examples of each of K trials.
        labels: [K, B].
        first_layers: for each trial, the first layer whose adapter it uses.
        noise: Gumbel noise [trials, B, layers, 2] for all trials and layers with a switch.
        plan: see ``StackedAdam.plan``.
    """

    packed: Packed
    labels: Tensor
    first_layers: tuple[int, ...]
    noise: Tensor | None
    plan: Tensor


class StackedTraining:
    """Trains trials side by side; an ``aa_ray.training.engine.Training``.

    Args:
        encoder: the frozen model with the trials' adapters.
        trainers: the trainers of K trials with equal ``fuse_key``.
    """

    def __init__(self, encoder: PreTrainedModel, trainers: Sequence[TrialTrainer]) -> None:
        self.trainers = list(trainers)
        self._encoder = encoder
        self._padding_position = model.padding_position(encoder)
        self._models = [trainer.trial_model for trainer in trainers]
        self.parameters = StackedParameters(self._models, encoder.dtype)
        self.adam = StackedAdam(self.parameters, [trainer.moments() for trainer in trainers])
        self._switches = HeldSwitches.of(self.parameters)
        self._classifiers = self._classifier_layers()
        self._rows: dict[tuple[int, tuple[int, ...]], HeldRows] = {}
        self._rows_of_last: tuple[tuple[int, ...], list[HeldRows]] = ((), [])
        self._leaves: list[Leaf] = []  # used by the step in progress
        for row, trainer in enumerate(trainers):
            trainer.optimizer = _Row(self, row)

    def _classifier_layers(self) -> list[tuple[Leaf, Leaf]]:
        """Weights and biases of the classifiers' linear layers."""
        linears = heads.linears(self._models[0].classifier)
        names = [[self.parameters.name(p) for p in (of.weight, of.bias)] for of in linears]
        return [(self.parameters.leaf(w), self.parameters.leaf(b)) for w, b in names]

    def batches(self, order: Sequence[Sequence[np.ndarray]]) -> Iterator[StackedBatch]:
        """The batches of the next steps; ``order`` has each trial's example indices per step."""
        schedules = [trainer.schedule for trainer in self.trainers]
        done = 0
        for _, equal in groupby(order, key=lambda indices: len(indices[0])):
            steps = list(equal)
            now = [Schedule(schedule.done + done, schedule.total) for schedule in schedules]
            yield from self._prepared(steps, now)
            done += len(steps)

    def _prepared(
        self, steps: Sequence[Sequence[np.ndarray]], schedules: Sequence[Schedule]
    ) -> Iterator[StackedBatch]:
        """Batches with the same number of examples each, prepared together."""
        size = len(steps[0][0])
        draws = [[trainer.draw(size) for trainer in self.trainers] for _ in steps]
        layers = [tuple(draw.first_layer for draw in of_step) for of_step in draws]
        device = self._encoder.device
        plans = transfer.sent(torch.from_numpy(self.adam.plan(schedules, np.array(layers))), device)
        noise = None
        if self._switches is not None:
            of_steps = [[draw.noise for draw in of_step] for of_step in draws]
            noise = transfer.sent(self._switches.arranged(of_steps, size), device)
        parts = [trainer.parts.train for trainer in self.trainers]
        for step, indices in enumerate(steps):
            packed, labels = unpadded.pack(parts, indices, device, self._padding_position)
            of_step = None if noise is None else noise[step]
            yield StackedBatch(packed, labels, layers[step], of_step, plans[step])

    def forward(self, batch: StackedBatch) -> Tensor:
        """Logits [K, B, outputs]; call ``step`` next."""
        self.parameters.before_step()
        self._leaves = [leaf for pair in self._classifiers for leaf in pair]
        if self._switches is not None and batch.noise is not None:
            self._switches.draw(batch.noise, batch.packed, self._encoder.dtype)
            self._leaves.append(self._switches.leaf)
        hidden = embedded(self._encoder, batch.packed)
        blocks = self._encoder.base_model.encoder.layer
        for block, rows in zip(blocks, self._all_rows(batch.first_layers), strict=True):
            self._leaves += rows.leaves
            hidden = layer_output(block, hidden, batch.packed, rows)
        pooling = self._models[0].trial.pooling  # the same in all trials of an array
        pooled = pooled_output(self._encoder, hidden, batch.packed, pooling)
        layers = [(weights.values, biases.values) for weights, biases in self._classifiers]
        return classify(pooled, layers, self._encoder.dropout)

    def _all_rows(self, first_layers: tuple[int, ...]) -> list[HeldRows]:
        """The adapted rows of each layer; without AdapterDrop they are the same in all steps."""
        if self._rows_of_last[0] != first_layers:
            num_layers = len(self._encoder.base_model.encoder.layer)
            rows = [self._layer_rows(layer, first_layers) for layer in range(num_layers)]
            self._rows_of_last = first_layers, rows
        return self._rows_of_last[1]

    def _layer_rows(self, layer: int, first_layers: tuple[int, ...]) -> HeldRows:
        """The rows of the trials that have an adapter in the layer and use it."""
        indices = tuple(
            row
            for row, (of_trial, first) in enumerate(zip(self._models, first_layers, strict=True))
            if layer >= first and layer in of_trial.layers
        )
        key = layer, indices
        if key not in self._rows:
            self._rows[key] = HeldRows.made(self.parameters, self._switches, layer, indices)
        return self._rows[key]

    def step(self, batch: StackedBatch, loss: Tensor) -> None:
        """Take a step on the sum of the trials' losses."""
        gradients = torch.autograd.grad(loss, [leaf.values for leaf in self._leaves])
        self.parameters.receive(self._leaves, gradients)
        self.adam.step(batch.plan)


class _Row(NamedTuple):
    """A trial's part of the array; an ``aa_ray.training.trainer.Optimizer``."""

    training: StackedTraining
    row: int

    def moments(self) -> Moments:
        return self.training.adam.moments(self.row)

    def release(self) -> None:
        self.training.parameters.release(self.row)


def training_of(encoder: PreTrainedModel, trainers: Sequence[TrialTrainer]) -> StackedTraining:
    """The training of exactly these trainers: their current one, or a new one."""
    optimizer: Any = trainers[0].optimizer
    if isinstance(optimizer, _Row) and optimizer.training.trainers == list(trainers):
        return optimizer.training
    return StackedTraining(encoder, trainers)
