"""Tests aa_ray.core.rational_torch against torch's differentiation of the plain formula."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aa_ray.core import rational_torch


def plain(x: Tensor, a: Tensor, b: Tensor, version: str) -> Tensor:
    """Compute the formula in the docstring of ``aa_ray.core.rational`` with explicit powers."""
    powers = x[..., None] ** torch.arange(6)  # [G, n, 6]
    terms = b[:, None] * powers[..., 1:5]
    inner = terms.abs().sum(-1) if version == "A" else terms.sum(-1).abs()
    return (a[:, None] * powers).sum(-1) / (1 + inner)


@pytest.mark.parametrize("gradient", ["kernel", "abs"])
@pytest.mark.parametrize("version", ["A", "B"])
@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**31))
def test_equals_automatic_differentiation(
    version: str, gradient: str, groups: int, n: int, seed: int
) -> None:
    """Away from the kinks, both gradients of the absolute value are the same."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, a, b, upstream = normal(groups, n), normal(groups, 6), normal(groups, 4), normal(groups, n)
    leaves = [t.requires_grad_() for t in (x, a, b)]
    expected = plain(x, a, b, version)
    gradients = torch.autograd.grad(expected, leaves, upstream)
    x, a, b = (t.detach() for t in leaves)
    torch.testing.assert_close(rational_torch.forward(x, a, b, version), expected.detach())
    grad_x, grad_a, grad_b = rational_torch.backward(upstream, x, a, b, version, gradient)
    if version == "A":
        grad_b = grad_b * b.sign()
    for found, wanted in zip((grad_x, grad_a, grad_b), gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
