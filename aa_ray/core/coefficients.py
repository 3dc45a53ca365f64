"""The rational's initial coefficients, and the names under which AdapterHub knows it.

Does not import torch, since the command line and ``import aa_ray`` only need the names. The
activation itself is in ``aa_ray.core.rational``.
"""

import itertools
from typing import Literal, NamedTuple, get_args

Version = Literal["A", "B"]
Gradient = Literal["kernel", "abs"]

# Coefficients that approximate a known function at the start: (numerator a0..a5, denominator
# b1..b4). "one" is the paper's choice (section 4.3); "one" and "identity" are exact. The others
# are the version-A fits shipped with the released code (PyPI: rational_activations).
INITIAL_COEFFICIENTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "one": ((1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    "identity": ((0.0, 1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    "relu": (
        (0.0299638, 0.6168978, 2.3753476, 3.06599, 1.5246832, 0.25280708),
        (-1.1915501, 4.4080486, 0.9110357, 0.34884977),
    ),
    "leaky_relu": (
        (0.029792778, 0.6183735, 2.323309, 3.0519361, 1.4854203, 0.25102448),
        (-1.1419548, 4.39316, 0.8714712, 0.3471966),
    ),
    "gelu": (
        (-0.0012423594, 0.5080497, 0.41586363, 0.1302272, 0.0243559, 0.0029028396),
        (-0.066750154, 0.17927647, 0.037466828, 1.656161e-10),
    ),
    "sigmoid": (
        (0.49999925, 0.25002158, 0.14061925, 0.04942049, 0.0087671485, 0.0006442413),
        (2.1694506e-09, 0.28122765, 1.0123621e-05, 0.017531987),
    ),
    "tanh": (
        (-1.0804623e-08, 1.0003008, -2.58782e-08, 0.0963213, 3.4775842e-09, 0.00042557094),
        (-0.0013027181, 0.42834902, 1.4524304e-09, 0.010796648),
    ),
}


class Settings(NamedTuple):
    """The arguments of ``Rational``: its initial function, denominator and gradient."""

    init: str = "one"
    version: Version = "A"
    gradient: Gradient = "kernel"


def activation_name(init: str, version: str = "A", gradient: str = "kernel") -> str:
    """The name under which AdapterHub's ``non_linearity`` knows this rational."""
    return f"rational:{init}{':b' * (version == 'B')}{':abs' * (gradient == 'abs')}"


# Name -> settings of every rational.
RATIONALS: dict[str, Settings] = {
    activation_name(*settings): Settings(*settings)
    for settings in itertools.product(INITIAL_COEFFICIENTS, get_args(Version), get_args(Gradient))
}
