"""aa_ray.rational_cpu against aa_ray.rational_torch."""

import pytest
import torch
from torch import Tensor

from aa_ray import rational_cpu as cpu
from aa_ray import rational_torch

# One element, less than a block, several blocks and a part of one; several rationals.
SHAPES = [(1, 1), (2, 100), (1, cpu.BLOCK), (3, 2 * cpu.BLOCK + 17)]


@pytest.mark.parametrize("gradient", ["kernel", "abs"])
@pytest.mark.parametrize("version", ["A", "B"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_torch_path(
    shape: tuple[int, int], dtype: torch.dtype, version: str, gradient: str
) -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    x, upstream = normal(*shape), normal(*shape)
    x[:, 0] = 0  # the kink
    a, b = normal(shape[0], 6), normal(shape[0], 4)
    b[0, 1] = 0
    rtol, atol = (2e-5, 2e-4) if dtype == torch.float32 else (1e-9, 1e-9)
    expected = rational_torch.forward(x, a, b, version)
    torch.testing.assert_close(cpu.forward(x, a, b, version), expected, rtol=rtol, atol=atol)
    gradients = rational_torch.backward(upstream, x, a, b, version, gradient)
    found = cpu.backward(upstream, x, a, b, version, gradient)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


def test_nan_and_infinity_pass_through() -> None:
    a, b = torch.ones(1, 6), torch.ones(1, 4)
    x = torch.tensor([[float("nan"), float("inf"), 1.0]])
    y = cpu.forward(x, a, b, "A")
    assert y[0, :2].isnan().all() and y[0, 2] == 6 / 5
    grad_x, *sums = cpu.backward(torch.ones_like(x), x, a, b, "A", "kernel")
    assert grad_x[0, :2].isnan().all() and grad_x[0, 2].isfinite()
    assert all(s.isnan().all() for s in sums)


def test_strided_input() -> None:
    a, b = torch.randn(2, 6), torch.randn(2, 4)
    x = torch.randn(50, 2).T
    upstream = torch.ones(1, 1).expand(2, 50)
    expected = rational_torch.backward(upstream, x, a, b, "B", "abs")
    for one, other in zip(cpu.backward(upstream, x, a, b, "B", "abs"), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
