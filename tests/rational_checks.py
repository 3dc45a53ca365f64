"""Checks every implementation of the rational against aa_ray.core.rational_torch."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from aa_ray.core import rational_torch


class KernelChecks:
    """Checks that the tests of an implementation inherit.

    Attributes:
        kernels: the module, with ``forward``, ``backward`` and ``BLOCK``.
        device: the device that computes.
    """

    kernels: ModuleType
    device = "cpu"

    @pytest.mark.parametrize("gradient", ["kernel", "abs"])
    @pytest.mark.parametrize("version", ["A", "B"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    # One element, part of a block, a block, several blocks and a part; several rationals.
    @pytest.mark.parametrize(
        ("groups", "blocks", "rest"), [(1, 0, 1), (2, 0, 100), (1, 1, 0), (3, 2, 17)]
    )
    def test_equals_the_torch_path(
        self, groups: int, blocks: int, rest: int, dtype: torch.dtype, version: str, gradient: str
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype).to(self.device)

        n = blocks * self.kernels.BLOCK + rest
        x, upstream = normal(groups, n), normal(groups, n)
        x[:, 0] = 0  # the kink
        a, b = normal(groups, 6), normal(groups, 4)
        b[0, 1] = 0
        rtol, atol = (2e-5, 2e-4) if dtype == torch.float32 else (1e-9, 1e-9)
        expected = rational_torch.forward(x, a, b, version)
        found = self.kernels.forward(x, a, b, version)
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
        gradients = rational_torch.backward(upstream, x, a, b, version, gradient)
        of_kernels = self.kernels.backward(upstream, x, a, b, version, gradient)
        for one, other in zip(of_kernels, gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=rtol, atol=atol)

    def test_nan_and_infinity_pass_through(self) -> None:
        a, b = torch.ones(1, 6, device=self.device), torch.ones(1, 4, device=self.device)
        x = torch.tensor([[float("nan"), float("inf"), 1.0]], device=self.device)
        y = self.kernels.forward(x, a, b, "A")
        assert y[0, :2].isnan().all() and y[0, 2] == 6 / 5
        grad_x, *sums = self.kernels.backward(torch.ones_like(x), x, a, b, "A", "kernel")
        assert grad_x[0, :2].isnan().all() and grad_x[0, 2].isfinite()
        assert all(s.isnan().all() for s in sums)

    def test_strided_input(self) -> None:
        a, b = torch.randn(2, 6).to(self.device), torch.randn(2, 4).to(self.device)
        x = torch.randn(50, 2).to(self.device).T
        upstream = torch.ones(1, 1).to(self.device).expand(2, 50)
        expected = rational_torch.backward(upstream, x, a, b, "B", "abs")
        found = self.kernels.backward(upstream, x, a, b, "B", "abs")
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
