"""Checks whether a device computes correctly, and how fast, on random encoders without a download.

``aa-ray doctor`` reports what this finds; tests/test_gpu.py runs the same comparisons.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from aa_ray.core import encoders, model, rational, rational_torch
from aa_ray.core.encoders import BERT_LAYERS
from aa_ray.core.engines import ADAPTERHUB, FUSED
from aa_ray.data import tasks
from aa_ray.errors import TrainingError
from aa_ray.training import loop
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.device import set_precision
from aa_ray.training.engine import Engine, make
from aa_ray.training.outcome import Outcome
from aa_ray.training.random_encoders import (
    LAYERS,
    TYPES,
    bert,
    examples,
    fitting,
    save_tiny,
    without_dropout,
)
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Precision, Trial

# The largest difference in losses, switch logits and rational coefficients between two devices or
# engines that counts as rounding.
TOLERANCE = 1e-3

# The same for losses in a lower precision, relative.
LOWER_TOLERANCE = 0.05

TASK = tasks.get("sst2")

# Settings in which trials side by side may differ: activation, switch, layers, AdapterDrop.
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"activation": "rational:one", "switched": True},
    {"activation": "rational:relu", "layers": (0, 2)},
    {"switched": True, "seed": 7},
    {"inference_depths": (0, 2)},
    {"layers": ()},
)


def make_trial(**changes: Any) -> Trial:
    """A trial on a tiny encoder: two epochs of the baseline, with these changes."""
    settings: dict[str, Any] = {
        "task": TASK.name, "regime": "100", "seed": 42, "backbone": "random", "data": "random",
        "layers": tuple(range(LAYERS)), "activation": "relu", "switched": False,
        "inference_depths": None, "learning_rate": 1e-3, "rational_learning_rate": 0.01,
        "switch_learning_rate": 0.05, "epochs": 2, "batch_size": 16,
    }  # fmt: skip
    return Trial(**(settings | changes))


def tiny(kind: str, device: torch.device | str, precision: Precision = "fp32") -> PreTrainedModel:
    """A frozen tiny encoder of this model type on the device, without dropout."""
    set_precision(precision)
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(kind, Path(folder))
        encoder = model.load(folder)
    return without_dropout(freeze(encoder, device, precision, fast_linears=False))


def train(engine: Engine, trials: Sequence[Trial]) -> list[Outcome]:
    """Train the trials side by side on random examples.

    Raises:
        TrainingError: a trial failed.
    """
    sizes = (40, 20, 30)
    train, development, test = (
        fitting(engine.encoder, examples(n, seed)) for seed, n in enumerate(sizes)
    )
    parts = [Parts(train, development)] * len(trials)
    outcomes = []
    for outcome in loop.run(engine, trials, TASK, parts, test):
        if isinstance(outcome, TrainingError):
            raise outcome
        outcomes.append(outcome)
    return outcomes


def difference(one: Outcome, other: Outcome) -> float:
    """The largest difference between their losses, switches and rationals, in any epoch."""
    names = ("train_loss", "logits", "numerators", "denominators")
    values = [
        np.array([number for epoch in outcome.history for name in names
                  for number in _numbers(getattr(epoch, name))])
        for outcome in (one, other)
    ]  # fmt: skip
    return float(np.abs(values[0] - values[1]).max())


def _numbers(value: Any) -> list[float]:
    """The numbers in nested lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [] if value is None else [float(value)]


def side_by_side_difference(device: torch.device | str) -> float:
    """Difference between trials that train side by side and the same trials one by one."""
    engine = make(FUSED, tiny("bert", device))
    trials = [make_trial(**changes) for changes in KINDS]
    together = train(engine, trials)
    alone = [train(engine, [trial])[0] for trial in trials]
    return max(difference(*pair) for pair in zip(together, alone, strict=True))


def architecture_difference(kind: str, device: torch.device | str) -> float:
    """Difference between an AA trial on the device and on the CPU, for all applicable engines.

    On the CPU itself it is the difference between the engines, and 0 if only AdapterHub's applies.
    """
    reference = tiny(kind, "cpu")
    layers = tuple(range(encoders.num_layers(reference)))  # ALBERT's share one
    trial = make_trial(activation="rational:one", switched=True, layers=layers)
    names = (FUSED, ADAPTERHUB) if kind in BERT_LAYERS else (ADAPTERHUB,)
    [expected] = train(make(ADAPTERHUB, reference), [trial])
    of_engines = [train(make(name, tiny(kind, device)), [trial])[0] for name in names]
    return max(difference(outcome, expected) for outcome in of_engines)


def architectures() -> list[str]:
    """The model types for ``architecture_difference``."""
    return list(TYPES)


def precision_difference(precision: Precision, device: torch.device | str) -> float:
    """Relative difference of training losses between this precision and float32, no dropout."""
    losses = []
    for name in ("fp32", precision):
        trial = make_trial(precision=name)
        [outcome] = train(make(FUSED, tiny("bert", device, name)), [trial])
        losses.append([epoch.train_loss or 0.0 for epoch in outcome.history[1:]])
    set_precision("fp32")
    full, lower = map(np.array, losses)
    return float(np.abs(lower / full - 1).max())


def rational_difference(device: torch.device | str) -> float:
    """Relative difference of value and gradients between the device's kernels and torch."""
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 4099, generator=generator).to(device) for _ in range(2))
    a, b = (torch.randn(2, n, generator=generator).to(device) for n in (6, 4))
    kernels = rational._implementation(torch.device(device).type)
    worst = 0.0
    for version in ("A", "B"):
        pairs = [(kernels.forward(x, a, b, version), rational_torch.forward(x, a, b, version))]
        both = (k.backward(grad, x, a, b, version, "kernel") for k in (kernels, rational_torch))
        pairs += zip(*both, strict=True)
        worst = max(worst, *(float((p - q).abs().max() / q.abs().max()) for p, q in pairs))
    return worst


class _AttentionKernels(TorchDispatchMode):
    """Records the torch operations with "attention" in their names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).split(".")[1]
        if "attention" in name and "backward" not in name:
            self.names.add(name.strip("_"))
        return func(*args, **(kwargs or {}))


def attention_kernels(device: torch.device, precision: Precision) -> dict[str, str]:
    """The torch operations that compute attention in training and in evaluation."""
    encoder = freeze(bert(2, 128, device), device, precision)
    engine = make(FUSED, encoder)
    trainer = _trainers(engine, 1, 8, precision)[0]
    found = {}
    for name, training in (("training", True), ("evaluation", False)):
        encoder.train(training)
        batch, _ = engine.pack([trainer.parts.train], [np.arange(8)])
        with _AttentionKernels() as kernels, torch.set_grad_enabled(training):
            engine.forward(batch, [trainer.context(8)])
        found[name] = " + ".join(sorted(kernels.names)) or "matrix products and softmax"
    return found


def _trainers(engine: Engine, count: int, texts: int, precision: Precision) -> list[TrialTrainer]:
    """Trainers of AA on all layers; each epoch is one step on ``texts`` texts."""
    num_layers = encoders.num_layers(engine.encoder)
    trial = make_trial(
        activation="rational:one", switched=True, layers=tuple(range(num_layers)),
        precision=precision, batch_size=texts, epochs=10**6,
    )  # fmt: skip
    trials = [replace(trial, seed=seed) for seed in range(count)]
    tokens = 40 if engine.encoder.device.type == "cuda" else 20
    part = examples(texts, tokens=tokens, words=20_000)
    trial_models = model.attach(engine.encoder, trials, TASK.outputs)
    return [TrialTrainer(m, TASK, Parts(part, part), num_layers) for m in trial_models]


def steps_per_second(
    encoder: PreTrainedModel, count: int, precision: Precision = "fp32", seconds: float = 1.0
) -> float:
    """Training steps per second of each of ``count`` trials side by side.

    A step has ``step_texts`` texts.
    """
    set_precision(precision)
    engine = make(FUSED, encoder)
    trainers = _trainers(engine, count, step_texts(encoder.device), precision)
    loop.train_epoch(engine, trainers, 1)  # warm-up: chooses kernels and allocates memory
    _wait_for(encoder.device)
    started = time.perf_counter()
    steps = 0
    while time.perf_counter() < started + seconds:
        loop.train_epoch(engine, trainers, 2 + steps)
        _wait_for(encoder.device)
        steps += 1
    set_precision("fp32")
    return steps / (time.perf_counter() - started)


def step_texts(device: torch.device) -> int:
    """Number of texts of a timed step: a batch, or on a CPU a quarter of one."""
    return 32 if device.type == "cuda" else 8


def _wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def middle_size(device: torch.device, precision: Precision = "fp32") -> PreTrainedModel:
    """The model for timing steps: the size of BERT-base on a GPU, of MiniLM on a CPU."""
    layers, hidden = (12, 768) if device.type == "cuda" else (6, 384)
    return freeze(bert(layers, hidden, device), device, precision)
