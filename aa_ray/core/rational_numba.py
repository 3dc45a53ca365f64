"""The rational activation on the CPU: one pass over the input, compiled by numba.

With torch's operations each power, product and sum is a pass over memory (about 50 of them,
forward and backward). Here one loop does everything for an element. The formulas are those of
``aa_ray.core.rational``; the tests compare with ``rational_torch``.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

# Gradients of coefficients are summed over blocks of this many elements in the input's precision.
# The blocks are added in order in float64, so the sum is the same every time.
BLOCK = 1 << 12

# Reordering sums and fusing products with them lets numba vectorise the loop. NaN and infinity keep
# their meaning. The first call compiles for some seconds; later processes find the result on disk.
_compiled: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@_compiled
def _forward(x: Any, a: Any, b: Any, version_a: bool, y: Any) -> None:
    for g in range(x.shape[0]):
        a0, a1, a2, a3, a4, a5 = a[g, 0], a[g, 1], a[g, 2], a[g, 3], a[g, 4], a[g, 5]
        b1, b2, b3, b4 = b[g, 0], b[g, 1], b[g, 2], b[g, 3]
        if version_a:
            b1, b2, b3, b4 = abs(b1), abs(b2), abs(b3), abs(b4)
        for i in range(x.shape[1]):
            v = x[g, i]
            base = abs(v) if version_a else v
            p = a0 + v * (a1 + v * (a2 + v * (a3 + v * (a4 + v * a5))))
            inner = base * (b1 + base * (b2 + base * (b3 + base * b4)))
            y[g, i] = p / (1 + abs(inner))


@_compiled
def _block_backward(
    grad: Any, x: Any, a: Any, b: Any, version_a: bool, kernel: bool, grad_x: Any, sums: Any
) -> None:
    """Gradient of x [n] into ``grad_x``; adds those of the coefficients [6], [4] to ``sums``."""
    a0, a1, a2, a3, a4, a5 = a[0], a[1], a[2], a[3], a[4], a[5]
    b1, b2, b3, b4 = b[0], b[1], b[2], b[3]
    if version_a:
        b1, b2, b3, b4 = abs(b1), abs(b2), abs(b3), abs(b4)
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    s0 = s1 = s2 = s3 = s4 = s5 = t1 = t2 = t3 = t4 = zero
    for i in range(x.size):
        v = x[i]
        base = abs(v) if version_a else v
        p = a0 + v * (a1 + v * (a2 + v * (a3 + v * (a4 + v * a5))))
        inner = base * (b1 + base * (b2 + base * (b3 + base * b4)))
        inverse = one / (one + abs(inner))
        grad_p = grad[i] * inverse
        grad_q = -grad_p * p * inverse
        dp = a1 + v * (2 * a2 + v * (3 * a3 + v * (4 * a4 + v * (5 * a5))))
        dq = b1 + base * (2 * b2 + base * (3 * b3 + base * (4 * b4)))
        kink = v if version_a else inner  # where the absolute value has its kink
        sign = one if kink > zero else (-one if kink < zero else zero)
        grad_x[i] = grad_p * dp + grad_q * (sign * dq)
        if not version_a:
            if kernel:  # copysign(1, inner), with an inner of exactly 0 counted as positive
                sign = -one if inner < zero else one
            grad_q = sign * grad_q
        s0 += grad_p
        grad_p *= v
        s1 += grad_p
        grad_p *= v
        s2 += grad_p
        grad_p *= v
        s3 += grad_p
        grad_p *= v
        s4 += grad_p
        s5 += grad_p * v
        grad_q *= base
        t1 += grad_q
        grad_q *= base
        t2 += grad_q
        grad_q *= base
        t3 += grad_q
        t4 += grad_q * base
    for k, value in enumerate((s0, s1, s2, s3, s4, s5, t1, t2, t3, t4)):
        sums[k] += value


@_compiled
def _backward(
    grad: Any, x: Any, a: Any, b: Any, version_a: bool, kernel: bool, grad_x: Any, sums: Any
) -> None:
    n = x.shape[1]
    for g in range(x.shape[0]):
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            _block_backward(
                grad[g, start:stop], x[g, start:stop], a[g], b[g], version_a, kernel,
                grad_x[g, start:stop], sums[g],
            )  # fmt: skip


def forward(x: Tensor, numerators: Tensor, denominators: Tensor, version: str) -> Tensor:
    """R(x) of x [G, n] with coefficients [G, 6] and [G, 4], all of one floating type."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    arrays = _arrays(x, numerators, denominators)
    _forward(*arrays, version == "A", y.numpy())
    return y


def backward(
    grad: Tensor, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [G, n], numerators [G, 6] and |denominators| [G, 4]; see rational_torch."""
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    sums = np.zeros((len(x), 10))
    arrays = _arrays(grad, x, numerators, denominators)
    _backward(*arrays, version == "A", gradient == "kernel", grad_x.numpy(), sums)
    of_coefficients = torch.from_numpy(sums).to(x.dtype)
    return grad_x, of_coefficients[:, :6].clone(), of_coefficients[:, 6:].clone()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
