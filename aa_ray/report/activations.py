"""The activations that a trial learned, evaluated from its row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval

if TYPE_CHECKING:  # imports pyarrow, which the names of a study's methods do not need
    from aa_ray.store.rows import Row


def activation(row: Row, layer: int, epoch: int, x: np.ndarray) -> np.ndarray | None:
    """R(x) of the layer after the epoch (0: before training), in the shape of x; float64.

    None if the layer has no rational.
    """
    if row["numerators"] is None or row["denominators"] is None:
        return None
    numerator, denominator = row["numerators"][epoch][layer], row["denominators"][epoch][layer]
    if numerator is None or denominator is None:
        return None
    version = json.loads(row["settings"]).get("denominator", "A")
    return _rational(x, numerator, denominator, version)


def _rational(x: np.ndarray, a: list[float], b: list[float], version: str) -> np.ndarray:
    """The formula of ``aa_ray.core.rational`` in numpy, since tables need no torch."""
    if version == "A":
        inner = polyval(np.abs(x), [0, *np.abs(b)])
    else:
        inner = polyval(x, [0, *b])
    return polyval(x, a) / (1 + np.abs(inner))
