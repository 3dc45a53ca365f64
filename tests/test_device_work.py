"""Compares the work of a training step, counted on a fake GPU, with that of an earlier commit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from aa_ray.training import varlen
from aa_ray.training.varlen import Sequences
from benchmarks import device_work
from benchmarks.counting import Counter
from benchmarks.device_work import SMALL, Case, Counts, counts
from benchmarks.device_work import count as count_case
from benchmarks.fake_gpu import fake_gpu

BEFORE: dict[str, Counts] = json.loads(
    Path(device_work.__file__).with_suffix(".json").read_text()
)["cases"]  # fmt: skip

# Number of trials -> upper limit of a step's kernels and bytes, relative to the earlier commit.
KERNELS = {1: 0.62, 8: 0.47}
BYTES = {1: 0.78, 8: 0.72}


def total(phases: Counts, name: str) -> float:
    return sum(work[name] for work in phases.values())


@pytest.fixture(scope="module", params=SMALL, ids=lambda case: case.key)
def case(request: pytest.FixtureRequest) -> tuple[Case, Counts]:
    return request.param, counts(request.param)


def test_a_step_starts_fewer_kernels(case: tuple[Case, Counts]) -> None:
    kernels = total(case[1], "kernels")
    assert 0 < kernels <= KERNELS[case[0].trials] * total(BEFORE[case[0].key], "kernels")


def test_a_step_moves_fewer_bytes(case: tuple[Case, Counts]) -> None:
    moved = total(case[1], "bytes")
    assert 0 < moved <= BYTES[case[0].trials] * total(BEFORE[case[0].key], "bytes")


def test_the_host_does_not_wait_within_a_step(case: tuple[Case, Counts]) -> None:
    assert total(case[1], "waits") == 0


def test_products_are_those_of_the_frozen_layers(case: tuple[Case, Counts]) -> None:
    """Forward takes 2 operations per weight and token.

    Backward computes the gradients of three layers' inputs.
    """
    of, phases = case
    batch_tokens = of.trials * 32 * of.mean
    layers = 2 * of.layers * 12 * 1024**2 * batch_tokens
    assert phases["forward"]["flops"] == pytest.approx(layers, rel=0.15)  # lengths are random
    assert layers / 2 < phases["backward"]["flops"] < 1.1 * layers


def test_counts_do_not_depend_on_chance() -> None:
    case = Case("aa", "bf16", 2, layers=2)
    torch.manual_seed(1)
    first = count_case(case)
    torch.manual_seed(2)
    assert count_case(case) == first


def count(work: Any) -> Any:
    """Return the counter's record of the function's work."""
    with Counter() as counter:
        counter.phase = "all"
        work()
    return counter.phases["all"]


def test_the_counter_counts() -> None:
    with fake_gpu():
        a, b = torch.empty(4, 8, device="cuda"), torch.empty(8, 16, device="cuda")
        work = count(lambda: (a @ b).relu().t()[1:])
        assert (work.kernels, work.flops) == (2, 2 * 4 * 8 * 16)
        assert work.bytes == 4 * (4 * 8 + 8 * 16 + 4 * 16 + 2 * 4 * 16)
        assert count(lambda: a + a[:1].expand(4, 8)).bytes == 4 * (32 + 8 + 32)


WAITING = {
    "a number that is read": lambda x: x.sum().item(),
    "a decision": lambda x: bool((x > 0).all()),
    "a copy to the host": lambda x: x.cpu(),
    "a copy from the host": lambda x: torch.ones(3).to("cuda"),
    "an index that is a list": lambda x: x[[0, 2]],
}
FREE = {
    "a copy that does not wait": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "a slice": lambda x: x[1:] * 2,
    "a choice": lambda x: torch.where(x > 0, x, 0.0),
}


@pytest.mark.parametrize("name", [*WAITING, *FREE])
def test_the_counter_notices_when_the_host_waits(name: str) -> None:
    with fake_gpu():
        x = torch.empty(4, 8, device="cuda")
        waits = sum(count(lambda: (WAITING | FREE)[name](x)).waits.values())
    assert waits == (1 if name in WAITING else 0)


def test_a_device_mismatch_fails() -> None:
    with fake_gpu(), pytest.raises(FakeTensorDeviceMismatchError):
        torch.empty(4, device="cuda") + torch.ones(4)


@pytest.mark.parametrize("kernel", [varlen.flash, varlen.efficient])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_kernels_take_their_arguments(kernel: varlen.Kernel, dtype: torch.dtype) -> None:
    """Torch's shape functions and derivatives accept the arguments; the values need a GPU."""
    with fake_gpu():
        ends = torch.empty(6, dtype=torch.int32, device="cuda")
        x = nn.Parameter(torch.empty(40, 4, 64, dtype=dtype, device="cuda"))
        output = kernel(x, x, x, Sequences(ends, 12), 0.1)
        assert output.shape == x.shape and output.dtype == dtype and output.is_cuda
        output.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape and x.grad.dtype == dtype


def test_torch_is_as_before_afterwards() -> None:
    with fake_gpu():
        assert torch.empty(1, device="cuda").is_cuda
    x = torch.ones(3, requires_grad=True)
    (2 * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0] * 3
    assert nn.Linear(2, 2).to(torch.float64).weight.dtype == torch.float64
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.empty(1, device="cuda")
