"""The rational activation in torch operations: for any device, and the reference of the tests.

The formulas are in ``aa_ray.core.rational``. Shapes: G rationals side by side on n inputs each.
"""

import torch
from torch import Tensor


def forward(x: Tensor, numerators: Tensor, denominators: Tensor, version: str) -> Tensor:
    """R(x) of x [G, n] with coefficients [G, 6] and [G, 4], all of one floating type."""
    p, q, _ = _terms(x, numerators, denominators, version)
    return p / q


def backward(
    grad: Tensor, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [G, n], numerators [G, 6] and |denominators| [G, 4], given that of R(x).

    Version B has no |b|: there it is the gradient of the denominators themselves.
    """
    p, q, inner = _terms(x, numerators, denominators, version)
    grad_p = grad / q  # dL/dP
    grad_q = -grad_p * p / q  # dL/dQ
    if version == "A":
        base = x.abs()
        dq_dx = torch.sign(x) * _horner(base, _derivative(denominators.abs()))
        grad_powers = grad_q
    else:
        base = x
        dq_dx = torch.sign(inner) * _horner(x, _derivative(denominators))
        grad_powers = torch.sign(inner) * grad_q
        if gradient == "kernel":
            # copysign(1, A), where an A of exactly 0 counts as positive.
            grad_powers = torch.where(inner < 0, -grad_q, grad_q)
    return (
        grad_p * _horner(x, _derivative(numerators[:, 1:])) + grad_q * dq_dx,
        _sums_with_powers(grad_p, x, numerators.shape[1]),
        _sums_with_powers(grad_powers * base, base, denominators.shape[1]),
    )


def _terms(x: Tensor, a: Tensor, b: Tensor, version: str) -> tuple[Tensor, Tensor, Tensor]:
    """P, Q and the argument of Q's absolute value (the sum over k = 1..4), each [G, n]."""
    p = _horner(x, a)
    if version == "A":
        base = x.abs()
        inner = base * _horner(base, b.abs())
        return p, 1 + inner, inner
    inner = x * _horner(x, b)
    return p, 1 + inner.abs(), inner


def _horner(x: Tensor, coefficients: Tensor) -> Tensor:
    """c0 + c1 x + c2 x^2 + ... by Horner's rule; x [G, n], coefficients [G, k]."""
    columns = coefficients[:, :, None].unbind(1)  # each [G, 1]
    value = columns[-1].expand_as(x)
    for c in reversed(columns[:-1]):
        value = torch.addcmul(c, value, x)
    return value


def _derivative(coefficients: Tensor) -> Tensor:
    """Coefficients of the derivative of c1 x + c2 x^2 + ..., given (c1, c2, ...) [G, k]."""
    k = torch.arange(1, coefficients.shape[1] + 1, device=coefficients.device)
    return coefficients * k


def _sums_with_powers(grad: Tensor, x: Tensor, count: int) -> Tensor:
    """(sum(grad), sum(grad x), sum(grad x^2), ...) over n: [G, count]."""
    sums = []
    for _ in range(count):
        sums.append(grad.sum(dim=1))
        grad = grad * x
    return torch.stack(sums, dim=1)
