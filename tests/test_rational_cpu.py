"""aa_ray.rational_cpu against aa_ray.rational_torch."""

from aa_ray import rational_cpu
from tests.rational_checks import KernelChecks


class TestCpu(KernelChecks):
    kernels = rational_cpu
