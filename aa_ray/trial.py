"""A trial: one training run, as a frozen record of everything that can change its result."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypedDict, get_args

# Fields of the first version. They are always hashed, even at their default.
_FIRST_FIELDS = frozenset(
    "task regime seed backbone data layers activation switched inference_depths learning_rate "
    "rational_learning_rate switch_learning_rate epochs batch_size max_length max_gradient_norm "
    "reduction_factor temperature".split()
)

Precision = Literal["fp32", "bf16", "tf32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Pooling = Literal["cls", "mean"]


class TrialColumns(TypedDict):
    """The columns of a row that identify its trial. Built by ``Trial.columns``."""

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
    """One training run. Two trials with equal fields are the same trial.

    How it is run (device, number of workers, location of the files) is not part of it. The
    defaults follow the released code; the paper (section 4) gives only the number of epochs, the
    temperature and the order of the rational.

    Attributes:
        task, regime: decide the examples.
        seed: decides the split, the initial weights, the order of the examples and dropout.
        backbone: identity of the frozen encoder.
        data: identity of the data source.
        layers: 0-based layers with an adapter, ascending; empty means that only the classifier is
            trained.
        activation: AdapterHub's name of the non-linearity.
        switched: whether each adapter is behind a learnable switch.
        inference_depths: AdapterDrop: each training step skips the adapters of the first n layers,
            n uniform over 0..L-1. Each depth d, ascending, is evaluated with the adapters of the
            last d layers only. None: no AdapterDrop.
        reduction_factor: hidden size / bottleneck size.
        learning_rate: initial rate of adapters and classifier. ``rational_learning_rate`` and
            ``switch_learning_rate`` are those of rationals and switches. All decay linearly to 0.
        epochs, batch_size: passes over the training set, examples per step.
        max_length: maximum number of tokens per example, or the backbone's number of positions if
            that is smaller.
        max_gradient_norm: the gradient of all trained parameters is clipped to this 2-norm.
        temperature: temperature of the switch's Gumbel-softmax.
        precision: precision of the frozen backbone: fp32, bf16, or tf32 (float32 with products
            in TensorFloat-32, on NVIDIA GPUs only). Trained parameters are always float32.
        switch_skip, switch_identity, denominator, gradient_at_zero, drop_range, restored_switches,
            empty_selection: where paper and released code differ; see ``aa_ray.core.deviations``.
        pooling: what the classifier reads: "cls", the first token, through the backbone's own
            pooler if it has one, as in the paper; or "mean", the mean of the last layer's tokens.
        configuration: AdapterHub's configuration of another adapter type in these layers, as text
            (see ``aa_ray.core.configurations``); empty for the bottlenecks described above.
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
        """The columns of a row that identify its trial."""
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
        """Whether the activation is a rational; its coefficients have a separate learning rate."""
        return self.activation.startswith("rational:")

    @property
    def fine_tunes(self) -> bool:
        """Whether the backbone is trained too, as the released code does for an empty selection."""
        return not self.layers and self.empty_selection == "full"

    def depths(self, num_layers: int) -> tuple[int, ...]:
        """The tested inference depths, in layers from the top; only AdapterDrop has several."""
        return (num_layers,) if self.inference_depths is None else self.inference_depths

    @property
    def fuse_key(self) -> tuple[object, ...] | None:
        """Trials with equal keys can train side by side; None: it can only train alone."""
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

        A field that was added later is hashed only if it differs from its default. So existing ids
        stay the same when a field is added, and defaults must never change.
        """
        fields = dataclasses.asdict(self)
        for field in dataclasses.fields(self):
            if field.name not in _FIRST_FIELDS and fields[field.name] == field.default:
                del fields[field.name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:20]
