"""aa_ray.report.verdicts: what an interval decides, and what several claims decide together."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from aa_ray.report import verdicts
from aa_ray.report.statistics import Effect, Stratum, stratified_effect
from aa_ray.report.verdicts import FAILS, HOLDS, OPEN, Region, Rule, holm, verdict

FREEDOM = 10


def made_effect(low: float, high: float, level: float = 0.95) -> Effect:
    """Return the effect with this interval."""
    half = float(stats.t.ppf((1 + level) / 2, FREEDOM))
    return Effect((low + high) / 2, 10, (high - low) / 2 / half, FREEDOM)


BETTER, CONSIDERABLY = verdicts.better(), verdicts.considerably_better()
ON_PAR, NOT_BETTER = verdicts.on_par(), verdicts.not_better()


@pytest.mark.parametrize(
    ("rule", "level", "low", "high", "expected"),
    [
        (BETTER, 0.95, 0.1, 9, HOLDS), (BETTER, 0.95, -0.1, 9, OPEN),
        (BETTER, 0.95, -9, -1, FAILS), (BETTER, 0.95, 0.1, 0.5, HOLDS),
        (BETTER, 0.9, -1, 1.9, FAILS), (BETTER, 0.9, -1, 2.1, OPEN),
        (CONSIDERABLY, 0.95, 2.1, 9, HOLDS), (CONSIDERABLY, 0.95, 1.9, 9, OPEN),
        (CONSIDERABLY, 0.9, 0.5, 1.9, FAILS), (CONSIDERABLY, 0.9, 0.5, 2.1, OPEN),
        (ON_PAR, 0.9, -1.9, 1.9, HOLDS), (ON_PAR, 0.9, -2.1, 1.9, OPEN),
        (ON_PAR, 0.95, 2.1, 9, FAILS), (ON_PAR, 0.95, -9, -2.1, FAILS),
        (ON_PAR, 0.95, 1.9, 9, OPEN),
        (NOT_BETTER, 0.9, -9, 1.9, HOLDS), (NOT_BETTER, 0.9, -9, 2.1, OPEN),
        (NOT_BETTER, 0.95, 2.1, 3, FAILS), (NOT_BETTER, 0.95, 1.9, 3, OPEN),
        (BETTER, 0.95, math.nan, math.nan, OPEN), (ON_PAR, 0.95, math.nan, math.nan, OPEN),
    ],
)  # fmt: skip
def test_rules(rule: Rule, level: float, low: float, high: float, expected: str) -> None:
    assert rule.decide(made_effect(low, high, level)) == expected


@pytest.mark.parametrize("margin", [0.5, 2.0, 5.0])
def test_the_margin_is_a_parameter(margin: float) -> None:
    inside = made_effect(-margin + 0.01, margin - 0.01, 0.9)
    assert verdicts.on_par(margin).decide(inside) == HOLDS
    assert verdicts.on_par(margin - 0.1).decide(inside) == OPEN
    assert f"±{margin:g} points" in verdicts.on_par(margin).text
    assert verdicts.considerably_better(margin).decide(made_effect(margin + 0.1, 9)) == HOLDS


def test_being_on_par_is_two_one_sided_tests() -> None:
    first = np.array([70.1, 71.4, 69.2, 72.0, 70.9])
    second = np.array([70.6, 70.2, 69.9, 71.1, 71.3])
    effect = stratified_effect({0: Stratum(tuple(first - second))})
    expected = ttost_paired(first, second, -2, 2)[0]
    assert Region(-2, 2).p_value(effect) == pytest.approx(expected)


def test_a_direction_is_tested_as_scipy_does() -> None:
    values = np.array([1.0, 3.0, -0.5, 2.2])
    effect = stratified_effect({0: Stratum(tuple(values))})
    p = float(Region(low=0.0, two_sided=True).p_value(effect))
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_claim_about_each_task_holds_if_it_holds_for_all() -> None:
    ahead, behind, unsure = made_effect(1, 9), made_effect(-9, -5), made_effect(-9, 9)
    assert verdict(*BETTER.test([ahead, ahead])) == HOLDS
    assert verdict(*BETTER.test([ahead, unsure])) == OPEN
    assert verdict(*BETTER.test([ahead, behind, unsure])) == FAILS
    alone, among = (BETTER.test([behind] + [unsure] * n)[1] for n in (0, 4))
    assert among == pytest.approx(5 * alone)  # Bonferroni: any of five may look bad by chance
    assert all(math.isnan(p) for p in BETTER.test([]))
    nothing = Effect(math.nan)
    assert verdict(*BETTER.test([ahead, nothing])) == OPEN


def test_p_values_are_adjusted_by_holms_method() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 20):
        p_values = rng.random(count) ** 4
        expected = multipletests(p_values, method="holm")[1]
        assert holm(p_values.tolist()) == pytest.approx(expected.tolist())


def test_what_is_not_tested_does_not_count() -> None:
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert all(math.isnan(p) for p in holm([math.nan])) and holm([]) == []


def test_a_verdict_needs_a_test() -> None:
    assert verdict(0.04, 0.5) == HOLDS and verdict(0.5, 0.04) == FAILS
    assert verdict(math.nan, math.nan) == OPEN and verdict(0.051, 0.051) == OPEN
