"""aa_ray.report.activations: activations from rows."""

import json
from typing import Any

import numpy as np
import pytest

from aa_ray.report.activations import activation

X = np.linspace(-2, 2, 9)


@pytest.mark.parametrize("version", ["A", "B"])
def test_activation_is_the_formula(version: str) -> None:
    a, b = [0.1, 1.0, -0.5, 0.2, 0.0, 0.05], [0.3, -0.2, 0.1, 0.4]
    row: Any = {
        "numerators": [[None, [1.0, 0, 0, 0, 0, 0]], [None, a]],
        "denominators": [[None, [0.0] * 4], [None, b]],
        "settings": json.dumps({"denominator": version}),
    }
    p = np.polynomial.Polynomial(a)(X)
    terms = np.array([c * X**k for k, c in enumerate(b, start=1)])  # [4, 9]
    q = 1 + (np.abs(terms).sum(axis=0) if version == "A" else np.abs(terms.sum(axis=0)))
    for epoch, expected in ((1, p / q), (0, np.ones(9))):
        found = activation(row, 1, epoch, X)
        assert found is not None
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert activation(row, 0, 1, X) is None
    assert activation(row | {"numerators": None}, 0, 0, X) is None
