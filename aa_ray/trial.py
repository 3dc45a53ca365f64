"""A trial: one training run, as a frozen record of everything that can change its result."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict, get_args

# Fields of the first version, which count in the hash whatever their value.
_FIRST_FIELDS = frozenset(
    "task regime seed backbone data layers activation switched inference_depths learning_rate "
    "rational_learning_rate switch_learning_rate epochs batch_size max_length max_gradient_norm "
    "reduction_factor temperature".split()
)

Precision = Literal["fp32", "bf16", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Pooling = Literal["cls", "mean"]


class TrialColumns(TypedDict):
    """The columns of a row that say which trial it is. Built by ``Trial.columns``."""

    trial_id: str
    task: str
    regime: str
    seed: int
    backbone: str
    data_source: str
    precision: str
    settings: str


@dataclass(frozen=True)
class Trial:
    """One training run. Two trials with equal fields are the same trial, whatever led to them.

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
        epochs, batch_size, max_length: passes, examples per step, tokens per example at most, or
            as many as the backbone has positions.
        max_gradient_norm: the gradient of all trained parameters is clipped to this 2-norm.
        temperature: of the switch's Gumbel-softmax.
        precision: in which the frozen backbone computes: fp32, bf16, or tf32 (float32 with products
            in TensorFloat-32, on NVIDIA GPUs only). What is trained is kept in float32 throughout.
        switch_skip, switch_identity, denominator, gradient_at_zero, drop_range, restored_switches,
            empty_selection: where paper and released code differ; see ``aa_ray.core.deviations``.
        pooling: what the classifier reads: "cls", the first token, through the backbone's own
            pooler if it has one, as in the paper; or "mean", the mean of the last layer's tokens.
        configuration: AdapterHub's configuration of other adapters in these layers, as text (see
            ``aa_ray.core.configurations``); empty for the bottlenecks that the fields describe.
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
    precision: Precision = "fp32"
    switch_skip: str = "yes"
    switch_identity: str = "released"
    denominator: str = "A"
    gradient_at_zero: str = "kernel"
    drop_range: str = "layers"
    restored_switches: str = "best"
    empty_selection: str = "classifier"
    pooling: Pooling = "cls"
    configuration: str = ""

    def to_json(self) -> str:
        """Canonical JSON of all fields; ``from_json`` reads it back."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def columns(self) -> TrialColumns:
        """The columns of a row that say which trial it is."""
        return {
            "trial_id": self.id,
            "task": self.task,
            "regime": self.regime,
            "seed": self.seed,
            "backbone": self.backbone,
            "data_source": self.data,
            "precision": self.precision,
            "settings": self.to_json(),
        }

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        fields = json.loads(text)
        for name in ("layers", "inference_depths"):
            if fields[name] is not None:
                fields[name] = tuple(fields[name])
        return cls(**fields)

    @property
    def rational(self) -> bool:
        """Whether the activation is a rational, which has coefficients and a rate of its own."""
        return self.activation.startswith("rational:")

    @property
    def fine_tunes(self) -> bool:
        """Whether the backbone itself is trained: the released code's empty selection."""
        return not self.layers and self.empty_selection == "full"

    def depths(self, num_layers: int) -> tuple[int, ...]:
        """The inference depths that are tested, in layers from the top; one but for AdapterDrop."""
        return (num_layers,) if self.inference_depths is None else self.inference_depths

    @property
    def fuse_key(self) -> tuple[object, ...] | None:
        """Trials of an equal key can train side by side; None: only by itself."""
        if self.fine_tunes:
            return None
        own = {"seed", "layers", "activation", "switched", "inference_depths", "learning_rate",
               "rational_learning_rate", "switch_learning_rate", "max_gradient_norm", "drop_range",
               "restored_switches", "empty_selection"}  # fmt: skip
        fields = dataclasses.fields(self)
        return tuple(getattr(self, field.name) for field in fields if field.name not in own)

    @cached_property
    def id(self) -> str:
        """Content hash: 20 hexadecimal digits, the same in every process and on every machine.

        A field that was added later counts only where it differs from its default, so that trials
        keep their ids when a setting is added. So a default must never be changed.
        """
        fields = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name not in _FIRST_FIELDS and fields[field.name] == field.default:
                del fields[field.name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:20]
