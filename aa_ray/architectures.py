"""The methods of the study: ``from aa_ray.architectures import Method`` in a file for ``--own``.

This is the public path that docs/custom_methods.md shows. The code is in
``aa_ray.core.architectures``.
"""

from aa_ray.core.architectures import (
    METHODS,
    RATIONAL,
    RELU,
    SPEC,
    UNI,
    Layers,
    Method,
    MethodLine,
    N,
    last,
)

__all__ = [
    "METHODS",
    "RATIONAL",
    "RELU",
    "SPEC",
    "UNI",
    "Layers",
    "Method",
    "MethodLine",
    "N",
    "last",
]
