"""The rational activation on NVIDIA GPUs: one Triton kernel forward, one backward.

The formulas are those of ``aa_ray.core.rational``; the tests compare with ``rational_torch``.
Each program adds up the coefficients' gradients over its elements and writes the sums to a separate
place; torch adds those up. So there are no atomics, and the sum is the same every time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def _terms(x, a, b, VERSION_A: tl.constexpr):  # type: ignore[no-untyped-def]
    """P, what is inside Q's absolute value, and the argument of its powers."""
    p = tl.load(a + 5)
    for k in tl.static_range(4, -1, -1):
        p = p * x + tl.load(a + k)
    base = tl.abs(x) if VERSION_A else x
    inner = tl.zeros_like(x)
    for k in tl.static_range(3, -1, -1):
        coefficient = tl.load(b + k)
        inner = (inner + (tl.abs(coefficient) if VERSION_A else coefficient)) * base
    return p, inner, base


@triton.jit
def _forward(x_at, a_at, b_at, y_at, n, VERSION_A: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    g = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_at + g * n + at, mask=at < n, other=0.0)
    p, inner, _ = _terms(x, a_at + g * 6, b_at + g * 4, VERSION_A)
    tl.store(y_at + g * n + at, p / (1 + tl.abs(inner)), mask=at < n)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    grad_at, x_at, a_at, b_at, grad_x_at, sums_at, n,
    VERSION_A: tl.constexpr, KERNEL: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    g = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    x = tl.load(x_at + g * n + at, mask=at < n, other=0.0)
    grad = tl.load(grad_at + g * n + at, mask=at < n, other=0.0)
    a, b = a_at + g * 6, b_at + g * 4
    p, inner, base = _terms(x, a, b, VERSION_A)
    q = 1 + tl.abs(inner)
    grad_p = grad / q
    grad_q = -grad_p * p / q
    dp = 5 * tl.load(a + 5)
    for k in tl.static_range(4, 0, -1):
        dp = dp * x + k * tl.load(a + k)
    dq = tl.zeros_like(x)
    for k in tl.static_range(4, 0, -1):
        coefficient = tl.load(b + k - 1)
        dq = dq * base + k * (tl.abs(coefficient) if VERSION_A else coefficient)
    kink = x if VERSION_A else inner  # where the absolute value has its kink
    sign = tl.where(kink > 0, 1.0, tl.where(kink < 0, -1.0, 0.0)).to(x.dtype)
    tl.store(grad_x_at + g * n + at, grad_p * dp + grad_q * sign * dq, mask=at < n)
    if not VERSION_A:
        if KERNEL:  # copysign(1, inner), where an inner of exactly 0 counts as positive
            sign = tl.where(inner < 0, -1.0, 1.0).to(x.dtype)
        grad_q = grad_q * sign
    sums = sums_at + (g * tl.num_programs(0) + tl.program_id(0)) * 10
    for k in tl.static_range(6):
        tl.store(sums + k, tl.sum(grad_p, axis=0))
        grad_p = grad_p * x
    for k in tl.static_range(4):
        grad_q = grad_q * base
        tl.store(sums + 6 + k, tl.sum(grad_q, axis=0))


def forward(x: Tensor, numerators: Tensor, denominators: Tensor, version: str) -> Tensor:
    """R(x) of x [G, n] with coefficients [G, 6] and [G, 4], all of one floating type."""
    x, numerators, denominators = (t.contiguous() for t in (x, numerators, denominators))
    y = torch.empty_like(x)
    groups, n = x.shape
    _forward[triton.cdiv(n, BLOCK), groups](
        x, numerators, denominators, y, n, VERSION_A=version == "A", SIZE=BLOCK
    )
    return y


def backward(
    grad: Tensor, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [G, n], numerators [G, 6] and |denominators| [G, 4]; see rational_torch."""
    tensors = [t.contiguous() for t in (grad, x, numerators, denominators)]
    groups, n = x.shape
    grad_x = torch.empty_like(tensors[1])
    blocks = triton.cdiv(n, BLOCK)
    sums = x.new_empty(groups, blocks, 10)
    _backward[blocks, groups](
        *tensors, grad_x, sums, n,
        VERSION_A=version == "A", KERNEL=gradient == "kernel", SIZE=BLOCK,
    )  # fmt: skip
    of_coefficients = sums.sum(dim=1)
    return grad_x, of_coefficients[:, :6].clone(), of_coefficients[:, 6:].clone()
