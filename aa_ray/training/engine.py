"""The interface of an engine for the training loop, and the fused engine.

The other engine is in ``padded``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.engines import FUSED
from aa_ray.data.batches import Examples
from aa_ray.training import side_by_side, stacked_training, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.padded import AdapterHubEngine
from aa_ray.training.trainer import TrialTrainer


class Training(Protocol):
    """The training of trials that take their steps together."""

    def batches(self, order: Sequence[Sequence[np.ndarray]]) -> Iterator[Any]:
        """The batches of the next steps, with ``labels`` [trials, B], and with all random draws.

        No random numbers are drawn for the steps after these.

        Args:
            order: for each step, the indices of each trial's examples; equally many per trial.
        """

    def forward(self, batch: Any) -> Tensor:
        """Logits [trials, B, outputs]."""

    def step(self, batch: Any, loss: Tensor) -> None:
        """Take a step on the sum of the losses, each of which depends only on its own trial."""


class Engine(Protocol):
    """Computes the logits of trials on batches of examples.

    Attributes:
        name: its name in the rows.
        encoder: the frozen model with the trials' adapters; its mode decides on dropout.
    """

    name: str
    encoder: PreTrainedModel

    def pack(self, parts: Sequence[Examples], indices: Sequence[np.ndarray]) -> tuple[Any, Tensor]:
        """The batch with these examples, equally many of each part, and their labels [parts, B]."""

    def forward(self, batch: Any, contexts: Sequence[TrialContext], shared: bool = False) -> Tensor:
        """Logits [contexts, B, outputs].

        Args:
            batch: a batch from ``pack``: each context's examples, or if ``shared``, the examples
                that all contexts have in common.
            contexts: contexts with the same pooling.
        """

    def training(self, trainers: Sequence[TrialTrainer]) -> Training:
        """The training of these trainers, from their current state on."""

    def rational_inputs(self, batch: Any, context: TrialContext) -> dict[int, Tensor]:
        """Layer -> inputs of its rational at the tokens of all examples, [tokens, units]."""


class FusedEngine:
    """Runs trials side by side on batches without padding, on encoders with BERT's layers."""

    name = FUSED

    def __init__(self, encoder: PreTrainedModel) -> None:
        self.encoder = encoder
        self._padding_position = model.padding_position(encoder)

    def pack(
        self, parts: Sequence[Examples], indices: Sequence[np.ndarray]
    ) -> tuple[unpadded.Packed, Tensor]:
        return unpadded.pack(parts, indices, self.encoder.device, self._padding_position)

    def forward(
        self, batch: unpadded.Packed, contexts: Sequence[TrialContext], shared: bool = False
    ) -> Tensor:
        return side_by_side.forward(self.encoder, batch, contexts, shared)

    def training(self, trainers: Sequence[TrialTrainer]) -> Training:
        return stacked_training.training_of(self.encoder, trainers)

    def rational_inputs(self, batch: unpadded.Packed, context: TrialContext) -> dict[int, Tensor]:
        real = batch.example_of_token[0] >= 0  # not the spare ones
        seen: dict[int, Tensor] = {}

        def keep(layer: int, _: Any, units: Tensor) -> None:
            seen[layer] = units[0][real]

        side_by_side.forward(self.encoder, batch, [context], observe=keep)
        return seen


def make(name: str, encoder: PreTrainedModel) -> Engine:
    """The engine with this name for the model."""
    if encoder.device.type == "cuda":
        # cuDNN's attention compiles a plan for each new shape, and batches differ in shape.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return FusedEngine(encoder) if name == FUSED else AdapterHubEngine(encoder)
