"""Simulated studies with known truth: intervals cover it, and verdicts rarely err.

``benchmarks/verdicts.py`` is the full simulation. Here each share may deviate by four standard
errors for its number of studies.
"""

import numpy as np
import pytest

from aa_ray.report import verdicts
from aa_ray.report.verdicts import MARGIN, Rule
from benchmarks.simulated_studies import (
    Cell,
    Normal,
    TwoPoints,
    coverage,
    decisions,
    false_in_table,
)

STUDIES = 400


def tolerance(share: float, studies: int = STUDIES) -> float:
    return float(4 * np.sqrt(share * (1 - share) / studies))


SPREADS: list[list[Cell]] = [
    [Normal(3.0)],
    [Normal(18.0)],
    [Normal(3.0), Normal(5.7), Normal(18.0)],
    [Normal(3.0), Normal(5.7), TwoPoints(0.8, 0.2)],
]


@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize("cells", SPREADS, ids=lambda cells: ", ".join(map(str, cells)))
def test_intervals_cover_the_truth(cells: list[Cell], seeds: int) -> None:
    found = coverage(cells, seeds, STUDIES, np.random.default_rng(seeds))
    assert 0.93 - tolerance(0.95) <= found.share
    if not any(isinstance(cell, TwoPoints) for cell in cells):
        assert found.share <= 0.97 + tolerance(0.95)


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("pair", [(0.2, 0.8), (0.5, 0.5), (0.8, 0.5)])
def test_cells_of_runs_that_take_off_or_not_are_covered(
    pair: tuple[float, float], seeds: int
) -> None:
    found = coverage([TwoPoints(*pair)], seeds, STUDIES, np.random.default_rng(0))
    assert found.share >= 0.93 - tolerance(0.95)


def test_a_t_interval_alone_covers_them_far_too_rarely() -> None:
    rng = np.random.default_rng(0)
    found = coverage([TwoPoints(0.2, 0.8)], 3, STUDIES, rng, only_t=True)
    assert found.share < 0.8


@pytest.mark.parametrize("seeds", [3, 20])
@pytest.mark.parametrize(
    ("rule", "mean"),
    [
        (verdicts.better(), 0.0),
        (verdicts.considerably_better(), MARGIN),
        (verdicts.on_par(), MARGIN),
        (verdicts.not_better(), MARGIN),
    ],
)
def test_a_claim_that_is_just_wrong_rarely_holds(rule: Rule, mean: float, seeds: int) -> None:
    cells = [Normal(3.0, mean), Normal(5.7, mean)]
    holds, _ = decisions(rule, cells, seeds, STUDIES, np.random.default_rng(seeds))
    assert holds <= 0.05 + tolerance(0.05)


@pytest.mark.parametrize(
    ("rule", "mean"),
    [
        (verdicts.better(), MARGIN),
        (verdicts.considerably_better(), MARGIN),
        (verdicts.on_par(), MARGIN),
        (verdicts.not_better(), MARGIN),
    ],
)
def test_a_claim_that_is_just_right_is_rarely_refuted(rule: Rule, mean: float) -> None:
    cells = [Normal(3.0, mean), Normal(5.7, mean)]
    _, fails = decisions(rule, cells, 10, STUDIES, np.random.default_rng(0))
    assert fails <= 0.05 + tolerance(0.05)


def test_a_table_of_wrong_claims_rarely_has_any_that_holds() -> None:
    adjusted, unadjusted = false_in_table(12, 5, 200, np.random.default_rng(0))
    assert adjusted <= 0.05 + tolerance(0.05, 200) < unadjusted
