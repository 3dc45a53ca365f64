"""Estimate the time a GPU needs for counted work, from its peak compute and bandwidth.

An operator takes the time of its FLOPs or of its bytes, whichever is longer. Each kernel adds
``GAP``. Rates are what well-shaped products and copies typically reach, below the data sheet's.
They are assumptions; nothing here was measured.
"""

from typing import NamedTuple

from aa_ray.trial import Precision
from benchmarks.counting import Work

GAP = 2e-6  # seconds between a kernel and the next

# Seconds of the host for each kernel: Python, autograd, launch. A server's core, one process.
HOST = 12e-6


class Gpu(NamedTuple):
    """FLOP rates by dtype and bandwidth, as reached in practice.

    Attributes:
        peak: of the data sheet, dense, in TFLOP/s (bfloat16, TF32, float32) and TB/s.
    """

    bf16: float
    tf32: float
    fp32: float
    memory: float
    peak: str


GPUS = {
    "H100": Gpu(550e12, 300e12, 50e12, 2.6e12, "989, 495, 67; 3.35"),
    "A100": Gpu(230e12, 115e12, 17e12, 1.6e12, "312, 156, 19.5; 2.04"),
    "L4": Gpu(60e12, 30e12, 15e12, 0.24e12, "121, 60, 30; 0.30"),
}


def milliseconds(work: Work, gpu: str, precision: Precision) -> float:
    """Return milliseconds on the device alone.

    Args:
        precision: fp32 and tf32 are the same work at different rates.
    """
    of = GPUS[gpu]
    rates = {"half": of.bf16, "full": of.fp32 if precision == "fp32" else of.tf32}
    products = sum(
        max(flops / rates[kind], moved / of.memory)
        for kind, operators in work.matrix.items()
        for flops, moved in operators
    )
    return 1000 * (products + sum(work.elementwise_bytes) / of.memory + GAP * work.kernels)
