"""Tests aa_ray.core.rational_numba against aa_ray.core.rational_torch."""

from aa_ray.core import rational_numba
from tests.rational_checks import KernelChecks


class TestCpu(KernelChecks):
    kernels = rational_numba
