"""The learnable rational activation R(x) = P(x) / Q(x) of order 5/4 (paper section 2.1).

    P(x) = a0 + a1 x + ... + a5 x^5
    version "A":  Q(x) = 1 + |b1 x| + |b2 x^2| + |b3 x^3| + |b4 x^4|     (released code, default)
    version "B":  Q(x) = 1 + |b1 x + b2 x^2 + b3 x^3 + b4 x^4|           (paper, equation 1)

The gradient of |b| at b = 0 is copysign(1, b), as in the CUDA kernel of the released code. So the
denominator can learn from f(x) = 1, where each b is 0. Automatic differentiation of ``abs`` gives
gradient 0 there, and the "rational" would remain a polynomial; ``gradient="abs"`` selects this.

``aa_ray.core.coefficients`` holds the initial coefficients and AdapterHub's names for the
activation; ``aa_ray.core.registration`` registers these names with AdapterHub.
"""

import functools
import importlib.util
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, library, nn
from torch.autograd.function import once_differentiable

from aa_ray.core.coefficients import INITIAL_COEFFICIENTS, Gradient, Version
from aa_ray.errors import unknown


@functools.cache
def _implementation(device_type: str) -> ModuleType:
    """The module with the implementation for this type of device."""
    name = {"cpu": "rational_numba", "cuda": "rational_triton"}.get(device_type, "rational_torch")
    if name == "rational_triton" and triton_fault() is not None:
        name = "rational_torch"
    return importlib.import_module(f"aa_ray.core.{name}")


@functools.cache
def triton_fault() -> str | None:
    """Why the Triton kernels do not run on this process's GPU, in one line; None if they do.

    On some platforms torch comes without triton. Where installed, triton needs a C compiler,
    Python's headers and a writable folder. So this computes one rational to find out.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        triton = importlib.import_module("aa_ray.core.rational_triton")
        x, a, b = (torch.ones(1, n, device="cuda") for n in (1, 6, 4))
        for version in ("A", "B"):
            triton.forward(x, a, b, version)
            triton.backward(x, x, a, b, version, "kernel")
        torch.cuda.synchronize()
    except Exception as error:  # whatever the error is, torch's operations compute the same
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return None


# Registered as torch operators, so that torch.compile does not trace into them. Not with
# ``library.custom_op``, which compares the storage of all arguments and results in each call.
library.define(
    "aa_ray::rational",
    "(Tensor x, Tensor numerators, Tensor denominators, str version) -> Tensor",
)
library.define(
    "aa_ray::rational_backward",
    "(Tensor grad, Tensor x, Tensor numerators, Tensor denominators, str version, str gradient)"
    " -> (Tensor, Tensor, Tensor)",
)


@library.impl("aa_ray::rational", "CompositeExplicitAutograd")
def _rational(x: Tensor, numerators: Tensor, denominators: Tensor, version: str) -> Tensor:
    """R(x) of x [G, n] with coefficients [G, 6] and [G, 4], all of one floating type."""
    return cast(
        Tensor, _implementation(x.device.type).forward(x, numerators, denominators, version)
    )


@library.impl("aa_ray::rational_backward", "CompositeExplicitAutograd")
def _rational_backward(
    grad: Tensor, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x [G, n], numerators [G, 6] and denominators [G, 4], given that of R(x)."""
    grad_x, of_numerators, of_denominators = _implementation(x.device.type).backward(
        grad, x, numerators, denominators, version, gradient
    )
    if version == "A":  # Q depends on |b|
        if gradient == "kernel":
            negative = torch.signbit(denominators)
            of_denominators = torch.where(negative, -of_denominators, of_denominators)
        else:
            of_denominators = torch.sign(denominators) * of_denominators
    return grad_x, of_numerators, of_denominators


@library.register_fake("aa_ray::rational")
def _(x: Tensor, numerators: Tensor, denominators: Tensor, version: str) -> Tensor:
    return x.new_empty(x.shape)


@library.register_fake("aa_ray::rational_backward")
def _(
    grad: Tensor, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), torch.empty_like(numerators), torch.empty_like(denominators)


class _RationalFunction(torch.autograd.Function):
    """R(x) with the kernel's gradients; saves only x [G, n] and the coefficients [G, 6], [G, 4]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, numerators: Tensor, denominators: Tensor, version: str, gradient: str
    ) -> Tensor:
        ctx.save_for_backward(x, numerators, denominators)
        ctx.settings = version, gradient
        return cast(Tensor, torch.ops.aa_ray.rational(x, numerators, denominators, version))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = torch.ops.aa_ray.rational_backward(grads[0], *ctx.saved_tensors, *ctx.settings)
        return (*found, None, None)


def rational(
    x: Tensor, numerators: Tensor, denominators: Tensor, version: Version, gradient: Gradient
) -> Tensor:
    """R(x) of G rationals side by side.

    Args:
        x: [G, ...]. Half precision (also of coefficients) is evaluated in float32, since 10^5
            already exceeds float16, and the result is cast back.
        numerators, denominators: [G, 6] and [G, 4].
        version, gradient: see ``Rational``.
    """
    precision = torch.promote_types(x.dtype, numerators.dtype)
    precision = torch.promote_types(precision, torch.float32)
    y = _RationalFunction.apply(
        x.flatten(1).to(precision),
        numerators.to(precision),
        denominators.to(precision),
        version,
        gradient,
    )
    return y.view_as(x).to(x.dtype)


class Rational(nn.Module):
    """Rational activation with learnable coefficients, applied element-wise.

    Args:
        init: the function that it initially approximates, a key of ``INITIAL_COEFFICIENTS``.
        version: denominator "A" (released code) or "B" (paper); the approximations other than
            "one" and "identity" were fitted for version A.
        gradient: gradient of the denominator's absolute value at 0: "kernel" (released code) or
            "abs".

    Parameters: ``numerator`` [6], a0 to a5; ``denominator`` [4], b1 to b4. Both float32.
    The input may have any shape. Half precision is evaluated in float32, since 10^5 already exceeds
    float16, and the result is cast back.

    Raises:
        UsageError: unknown ``init``, ``version`` or ``gradient``.
    """

    def __init__(
        self, init: str = "one", version: Version = "A", gradient: Gradient = "kernel"
    ) -> None:
        super().__init__()
        if init not in INITIAL_COEFFICIENTS:
            raise unknown("initial function of the rational", init, INITIAL_COEFFICIENTS)
        if version not in ("A", "B"):
            raise unknown("version of the rational", version, ("A", "B"))
        if gradient not in ("kernel", "abs"):
            raise unknown("gradient of the rational", gradient, ("kernel", "abs"))
        numerator, denominator = INITIAL_COEFFICIENTS[init]
        self.init = init
        self.version = version
        self.gradient = gradient
        self.numerator = nn.Parameter(torch.tensor(numerator))
        self.denominator = nn.Parameter(torch.tensor(denominator))

    def forward(self, x: Tensor) -> Tensor:
        numerators, denominators = self.numerator[None], self.denominator[None]
        return rational(x[None], numerators, denominators, self.version, self.gradient)[0]

    def extra_repr(self) -> str:
        return f"init={self.init!r}, version={self.version!r}, gradient={self.gradient!r}"
