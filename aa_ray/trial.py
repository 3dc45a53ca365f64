"""A trial: one training, as a frozen record of everything that can change its result."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One training. Two trials with equal fields are the same trial, whatever led to them.

    What runs it (device, number of workers, where the files lie) is not part of it. Defaults are
    the released code's protocol (paper section 4; it gives only epochs, temperature and order).

    Attributes:
        task, regime, seed: which examples, and the seed of split, initial weights, order, dropout.
        backbone: identity of the frozen encoder.
        data: identity of the data source.
        layers: 0-based layers with an adapter, ascending; none means classifier only.
        activation: AdapterHub's name of the non-linearity.
        switched: whether each adapter is behind a learnable switch.
        inference_depths: AdapterDrop: train with the first n layers skipped, n uniform over
            0..L-1 in each step, and evaluate with the last d layers' adapters, for each d given,
            ascending. None: no AdapterDrop.
        reduction_factor: hidden size / bottleneck size.
        learning_rate: of adapters and classifier at the first step; ``rational_learning_rate`` and
            ``switch_learning_rate`` of theirs. All decay linearly to 0.
        epochs, batch_size, max_length: passes, examples per step, tokens per example at most.
        max_gradient_norm: the gradient of all trained parameters is clipped to this 2-norm.
        temperature: of the switch's Gumbel-softmax.
    """

    task: str
    regime: str
    seed: int
    backbone: str
    data: str
    layers: tuple[int, ...]
    activation: str
    switched: bool
    inference_depths: tuple[int, ...] | None
    learning_rate: float
    rational_learning_rate: float
    switch_learning_rate: float
    epochs: int = 20
    batch_size: int = 32
    max_length: int = 128
    max_gradient_norm: float = 1.0
    reduction_factor: int = 16
    temperature: float = 0.1

    def to_json(self) -> str:
        """Canonical JSON of all fields; ``from_json`` reads it back."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        fields = json.loads(text)
        for name in ("layers", "inference_depths"):
            if fields[name] is not None:
                fields[name] = tuple(fields[name])
        return cls(**fields)

    @property
    def id(self) -> str:
        """Content hash: 20 hexadecimal digits, the same in every process and on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:20]
