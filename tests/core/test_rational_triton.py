"""Tests aa_ray.core.rational_triton against aa_ray.core.rational_torch, on a GPU or interpreted."""

import pytest
import torch

from tests.rational_checks import KernelChecks

pytest.importorskip("triton", reason="the Triton package is not installed")
from aa_ray.core import rational_triton


class TestCuda(KernelChecks):
    kernels = rational_triton
    device = "cuda" if torch.cuda.is_available() else "cpu"

    # Triton's interpreter computes with numpy, which warns.
    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_nan_and_infinity_pass_through(self) -> None:
        super().test_nan_and_infinity_pass_through()
