"""aa_ray.report.verdicts: what an interval decides."""

import math

import pytest

from aa_ray.report.statistics import Effect
from aa_ray.report.verdicts import (
    BETTER,
    DIFFER_BEYOND_SEEDS,
    DIFFER_IN_A_TENTH,
    FAILS,
    HOLDS,
    NOT_BETTER,
    ON_PAR,
    OPEN,
    Rule,
)


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (BETTER, 0.1, 9, HOLDS), (BETTER, -9, -1, FAILS), (BETTER, -1, 1.9, FAILS),
        (BETTER, -1, 3, OPEN), (ON_PAR, -1.9, 1.9, HOLDS), (ON_PAR, 2.1, 9, FAILS),
        (ON_PAR, -9, -2.1, FAILS), (ON_PAR, -1, 3, OPEN), (NOT_BETTER, -9, 1.9, HOLDS),
        (NOT_BETTER, 2.1, 3, FAILS), (NOT_BETTER, -1, 3, OPEN), (BETTER, math.nan, math.nan, OPEN),
        (DIFFER_BEYOND_SEEDS, 0.01, 1, HOLDS), (DIFFER_BEYOND_SEEDS, -1, -0.01, FAILS),
        (DIFFER_BEYOND_SEEDS, -1, 1, OPEN), (DIFFER_IN_A_TENTH, 0.11, 1, HOLDS),
        (DIFFER_IN_A_TENTH, 0, 0.09, FAILS), (DIFFER_IN_A_TENTH, 0, 0.2, OPEN),
    ],
)  # fmt: skip
def test_rules(rule: Rule, low: float, high: float, verdict: str) -> None:
    assert rule.verdict(Effect((low + high) / 2, low, high, 10, 1.0, 5)) == verdict
