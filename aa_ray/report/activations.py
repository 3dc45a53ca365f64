"""The activations that a trial learned, evaluated from its row."""

import json

import numpy as np
import torch

from aa_ray.core.rational import Rational
from aa_ray.store.rows import Row


def activation(row: Row, layer: int, epoch: int, x: np.ndarray) -> np.ndarray | None:
    """R(x) of that layer after that epoch (0: before training), shaped as x; float64.

    None where the layer has no rational.
    """
    numerators, denominators = row["numerators"], row["denominators"]
    if numerators is None or denominators is None or numerators[epoch][layer] is None:
        return None
    version = json.loads(row["settings"]).get("denominator", "A")
    rational = Rational(version=version).double()
    with torch.no_grad():
        rational.numerator.copy_(torch.tensor(numerators[epoch][layer]))
        rational.denominator.copy_(torch.tensor(denominators[epoch][layer]))
        return rational(torch.from_numpy(x)).numpy()
