"""The measurements of benchmarks/h100.py on a GPU. Each function measures one thing."""

import gc
import importlib
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, PreTrainedModel

from aa_ray.core.coefficients import INITIAL_COEFFICIENTS
from aa_ray.training import unpadded, varlen
from aa_ray.training.attention import attention
from aa_ray.training.evaluation import Job, evaluate
from aa_ray.training.varlen import Kernel
from aa_ray.trial import Precision
from benchmarks.arrays import Array, made_up_examples, made_up_trials


class Step(NamedTuple):
    """One training step of an array.

    Attributes:
        trials: side by side.
        mean: tokens per text.
        milliseconds: from one step to the next.
        peak_bytes: peak of allocated memory, weights included.
    """

    method: str
    precision: Precision
    trials: int
    mean: int
    milliseconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """Return steps of single trials per second."""
        return 1000 * self.trials / self.milliseconds


def step(
    encoder: PreTrainedModel,
    config: BertConfig,
    precision: Precision,
    method: str,
    trials: int,
    mean: int,
    seconds: float = 0.7,
) -> Step:
    """Time steps for about ``seconds`` after a warm-up.

    Raises:
        torch.OutOfMemoryError: this many trials do not fit.
    """
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    array = made_up_array(encoder, config, precision, method, trials, mean)
    array.train()  # compiles kernels, and fills the allocator
    taken: list[float] = []
    while array.steps * sum(taken) < seconds:
        taken.append(timed(array.train) / array.steps)
    peak = torch.cuda.max_memory_allocated()
    return Step(method, precision, trials, mean, 1000 * statistics.median(taken), peak)


def made_up_array(
    encoder: PreTrainedModel, config: BertConfig, precision: Precision, method: str, trials: int,
    mean: int,
) -> Array:  # fmt: skip
    """Return an array whose epochs have ``steps_of`` steps."""
    of_epoch = steps_of(trials, mean)
    return Array(encoder, made_up_trials(method, trials, config, precision), mean, of_epoch)


def steps_of(trials: int, mean: int) -> int:
    """Return the steps per epoch: many if they are short, so that its end matters little."""
    return 8 if trials * mean <= 640 else 4 if trials * mean <= 1024 else 2


def timed(work: Callable[[], object]) -> float:
    """Return the seconds until the GPU has finished."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


class Profile(NamedTuple):
    """What the GPU did in a training step.

    Attributes:
        kernels, copies: number of each.
        busy_milliseconds: time in which a kernel or copy ran.
        waits: calls in which the host waited for the GPU.
    """

    kernels: float
    copies: float
    busy_milliseconds: float
    waits: float


def profile(array: Array) -> Profile:
    """Profile an array that has trained before, per step. The epoch's end is included."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
        array.train()
        torch.cuda.synchronize()
    kernels = copies = 0
    busy = 0.0
    for event in recorded.events():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        busy += event.time_range.elapsed_us() / 1000
        copied = event.name.startswith(("Memcpy", "Memset"))
        copies, kernels = copies + copied, kernels + (not copied)
    counts = kernels, copies, busy, waits(array)
    return Profile(*(count / array.steps for count in counts))


def waits(array: Array) -> int:
    """Return the calls of an epoch in which the host waited for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            array.train()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


class Pass(NamedTuple):
    """Milliseconds of the first and the second pass over a test set."""

    first: float
    second: float


def evaluation(array: Array, texts: int, mean: int) -> Pass:
    """Evaluate all trials of the array on one test set of this many texts."""
    examples = made_up_examples(texts, mean, seed=7)
    num_layers = array.trainers[0].num_layers
    jobs = [Job(trainer, num_layers, examples) for trainer in array.trainers]
    first, second = (1000 * timed(lambda: evaluate(array.engine, jobs)) for _ in range(2))
    return Pass(first, second)


def repeatable(make: Callable[[], Array], epochs: int = 3) -> tuple[bool, int]:
    """Return whether two training runs with dropout agree bit for bit, and what differs."""
    ends: list[list[Tensor]] = []
    for _ in range(2):
        array = make()
        for _ in range(epochs):
            array.train()
        trained = (trainer.trial_model.parameters() for trainer in array.trainers)
        ends.append([p.detach().clone() for p in itertools.chain.from_iterable(trained)])
    different = sum(int((a != b).sum()) for a, b in zip(*ends, strict=True))
    return different == 0, different


def attention_milliseconds(
    encoder: PreTrainedModel, trials: int, mean: int, kernel: Kernel | None
) -> float:
    """Time one layer's attention, forward and backward, with dropout."""
    layer = encoder.base_model.encoder.layer[0].attention.self.train()
    parts = [made_up_examples(32, mean, seed) for seed in range(trials)]
    batch, _ = unpadded.pack(parts, [np.arange(32)] * trials, encoder.device)
    shape = (trials, batch.num_tokens // trials, encoder.config.hidden_size)
    hidden = torch.randn(shape, device=encoder.device, dtype=encoder.dtype, requires_grad=True)
    upstream = torch.randn_like(hidden)

    def work() -> None:
        for _ in range(10):
            torch.autograd.grad(attention(layer, hidden, batch), hidden, upstream)

    with mock.patch.object(varlen, "kernel", return_value=kernel):
        work()
        return 100 * statistics.median(timed(work) for _ in range(3))  # of 10, in milliseconds


def rational_milliseconds(
    tokens: int, groups: int, implementation: str, device: str = "cuda"
) -> float:
    """Time this many rationals on [tokens, 64] each, forward and backward."""
    module = importlib.import_module(f"aa_ray.core.rational_{implementation}")
    coefficients = (
        torch.tensor(c, device=device).repeat(groups, 1) for c in INITIAL_COEFFICIENTS["relu"]
    )
    numerators, denominators = coefficients  # [groups, 6], [groups, 4]
    x, upstream = torch.randn(2, groups, tokens * 64, device=device)

    def work() -> None:
        for _ in range(10):
            module.forward(x, numerators, denominators, "A")
            module.backward(upstream, x, numerators, denominators, "A", "kernel")

    work()
    return 100 * statistics.median(timed(work) for _ in range(3))
