"""The engine ``adapterhub``: AdapterHub's own forward pass, on any encoder and with any adapter.

On a CPU a batch is split into groups of similar length, each padded to its longest example. This
avoids most of the padding without changing results, since examples are independent. On a GPU a
batch is one group, since launching another kernel costs more than padding.

Contexts are computed one after another, since AdapterHub can only run several adapters on one batch
if they are in the same layers. No gradients are computed below a context's lowest adapter, since
nothing there is trained.

Shapes: B examples, G of them in a group, T tokens of the longest one there, H hidden units.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from aa_ray.core import heads, model
from aa_ray.core.engines import ADAPTERHUB
from aa_ray.data.batches import Examples
from aa_ray.training.context import TrialContext
from aa_ray.training.optimizers import PlainAdam
from aa_ray.training.trainer import TrialTrainer

# Number of examples in a group.
GROUP_SIZE = {"cpu": 8}


@dataclass(frozen=True)
class PaddedGroup:
    """Examples that are computed together.

    Attributes:
        inputs: the encoder's inputs, [G, T] each.
        examples: indices of these examples in the batch, [G].
    """

    inputs: dict[str, Tensor]
    examples: Tensor


@dataclass(frozen=True)
class PaddedBatch:
    """The examples of each context, or the common examples of all, in groups."""

    groups: list[list[PaddedGroup]]


class AdapterHubEngine:
    """Runs trials by AdapterHub's forward pass; an ``aa_ray.training.engine.Engine``.

    Args:
        encoder: the frozen model, with the trials' adapters; its mode decides on dropout.
    """

    name = ADAPTERHUB

    def __init__(self, encoder: PreTrainedModel) -> None:
        self.encoder = encoder
        self._segments = model.reads_segments(encoder)
        self._padding = encoder.config.pad_token_id or 0

    def pack(
        self, parts: Sequence[Examples], indices: Sequence[np.ndarray]
    ) -> tuple[PaddedBatch, Tensor]:
        """The batch with these examples of each part, and their labels [parts, B]."""
        pairs = list(zip(parts, indices, strict=True))
        batch = PaddedBatch([self._groups(part, numbers) for part, numbers in pairs])
        labels = np.stack([part.labels[numbers] for part, numbers in pairs])
        return batch, torch.from_numpy(labels).to(self.encoder.device)

    def _groups(self, part: Examples, numbers: np.ndarray) -> list[PaddedGroup]:
        """The examples in groups of similar length."""
        order = np.argsort(part.lengths[numbers], kind="stable")
        size = GROUP_SIZE.get(self.encoder.device.type, len(order))
        return [
            self._padded(part, numbers, order[start : start + size])
            for start in range(0, len(order), size)
        ]

    def _padded(self, part: Examples, numbers: np.ndarray, examples: np.ndarray) -> PaddedGroup:
        """These examples of the batch, padded to their longest."""
        of_part = numbers[examples]
        lengths, tokens = part.lengths[of_part], part.tokens(of_part)
        mask = np.arange(lengths.max()) < lengths[:, None]  # [G, T]
        columns = {"input_ids": (part.input_ids, self._padding)}
        if self._segments:
            columns["token_type_ids"] = (part.token_type_ids, 0)
        arrays = {"attention_mask": mask.astype(np.int64)}
        for name, (values, blank) in columns.items():
            arrays[name] = np.full(mask.shape, blank, dtype=np.int64)
            arrays[name][mask] = values[tokens]
        device = self.encoder.device
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return PaddedGroup(inputs, torch.from_numpy(examples).to(device))

    def forward(
        self, batch: PaddedBatch, contexts: Sequence[TrialContext], shared: bool = False
    ) -> Tensor:
        """Logits [contexts, B, outputs]; ``shared`` if all contexts have the same examples."""
        groups = batch.groups * len(contexts) if shared else batch.groups
        pairs = zip(contexts, groups, strict=True)
        return torch.stack([self._logits(context, of_context) for context, of_context in pairs])

    def _logits(self, context: TrialContext, groups: Sequence[PaddedGroup]) -> Tensor:
        """Logits [B, outputs] of one context."""
        trial_model = context.trial_model
        skipped = [layer for layer in trial_model.layers if layer < context.first_layer]
        self.encoder.set_active_adapters(trial_model.name, skip_layers=skipped or None)
        logits = torch.cat([self._of_group(context, group) for group in groups])
        return logits[torch.cat([group.examples for group in groups]).argsort()]

    def _of_group(self, context: TrialContext, group: PaddedGroup) -> Tensor:
        """Logits [G, outputs] of a group."""
        trial_model, mask = context.trial_model, group.inputs["attention_mask"]
        for layer in trial_model.layers if trial_model.trial.switched else ():
            noise = None if context.noise is None else context.noise[layer][group.examples]
            trial_model.switch(layer).noise = noise
        outputs = self.encoder.base_model(**group.inputs)
        hidden = outputs[0]  # [G, T, H]
        if trial_model.trial.pooling == "mean":
            pooled = heads.mean_of_tokens(hidden.float(), mask)
        elif heads.has_pooler(self.encoder):
            pooled = outputs.pooler_output
        else:
            pooled = hidden[:, 0]
        return heads.logits(trial_model.classifier, pooled, self.encoder.dropout)

    def training(self, trainers: Sequence[TrialTrainer]) -> "OneByOneTraining":
        """The training of these trainers."""
        return OneByOneTraining(self, trainers)

    def rational_inputs(self, batch: PaddedBatch, context: TrialContext) -> dict[int, Tensor]:
        """Layer -> inputs of its rational at the tokens of all examples, [tokens, units]."""
        [groups] = batch.groups
        rationals = context.trial_model.rationals
        seen: dict[int, list[Tensor]] = {layer: [] for layer in rationals}
        handles = [
            rational.register_forward_pre_hook(_keeper(seen[layer]))
            for layer, rational in rationals.items()
        ]
        try:
            self._logits(context, groups)
        finally:
            for handle in handles:
                handle.remove()
        masks = [group.inputs["attention_mask"].bool() for group in groups]
        return {layer: _real(inputs, masks) for layer, inputs in seen.items()}


class PaddedStep(NamedTuple):
    """The inputs of a training step; labels are [contexts, B]."""

    batch: PaddedBatch
    labels: Tensor
    contexts: list[TrialContext]


class OneByOneTraining:
    """Trains trials with one optimiser each; an ``aa_ray.training.engine.Training``."""

    def __init__(self, engine: AdapterHubEngine, trainers: Sequence[TrialTrainer]) -> None:
        self._engine = engine
        self._trainers = trainers
        self._optimizers = [_optimizer(trainer) for trainer in trainers]

    def batches(self, order: Sequence[Sequence[np.ndarray]]) -> Iterator[PaddedStep]:
        """The batches of the next steps; ``order`` has each trial's example indices per step."""
        parts = [trainer.parts.train for trainer in self._trainers]
        for indices in order:
            batch, labels = self._engine.pack(parts, indices)
            contexts = [trainer.context(len(indices[0])) for trainer in self._trainers]
            yield PaddedStep(batch, labels, contexts)

    def forward(self, batch: PaddedStep) -> Tensor:
        """Logits [trials, B, outputs]."""
        return self._engine.forward(batch.batch, batch.contexts)

    def step(self, batch: PaddedStep, loss: Tensor) -> None:
        """Take a step on the sum of the trials' losses."""
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()


def _optimizer(trainer: TrialTrainer) -> PlainAdam:
    if not isinstance(trainer.optimizer, PlainAdam):
        moments = trainer.moments()
        trainer.optimizer = PlainAdam(trainer.trial_model, trainer.schedule, moments)
    return trainer.optimizer


def _real(inputs: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The inputs [G, T, units] of each group without padding, [tokens, units].

    Each group has one input, or in ALBERT one for each run of the layer.
    """
    passes = len(inputs) // len(masks)
    pairs = zip(inputs, (mask for mask in masks for _ in range(passes)), strict=True)
    return torch.cat([x[mask] for x, mask in pairs])


def _keeper(inputs: list[Tensor]) -> Callable[[Any, tuple[Tensor]], None]:
    """A hook that appends the module's input to the list."""
    return lambda _, arguments: inputs.append(arguments[0])
