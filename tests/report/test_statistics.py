"""aa_ray.report.statistics against SciPy and statsmodels, and at the edges."""

import math
import statistics as standard

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from aa_ray.report import statistics
from aa_ray.report.statistics import Effect, Share, Stratum, stratified_effect

FLOATS = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=10)


@given(FLOATS)
def test_mean_and_deviation(values: list[float]) -> None:
    assert statistics.mean(values) == pytest.approx(standard.fmean(values), abs=1e-9)
    assert statistics.deviation(values) == pytest.approx(standard.stdev(values), abs=1e-6)


@given(FLOATS)
def test_half_interval_is_scipys(values: list[float]) -> None:
    if standard.stdev(values) < 1e-6:
        return
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=standard.fmean(values), scale=stats.sem(values)
    )
    assert statistics.half_interval(values) == pytest.approx((high - low) / 2, rel=1e-6)


def test_too_few_values() -> None:
    assert math.isnan(statistics.mean([]))
    assert math.isnan(statistics.deviation([])) and math.isnan(statistics.deviation([1.0]))
    assert math.isnan(statistics.half_interval([1.0]))


@given(FLOATS)
def test_one_stratum_is_the_one_sample_t_interval(values: list[float]) -> None:
    if standard.stdev(values) < 1e-6:
        return
    effect = stratified_effect({"a": values})
    half = statistics.half_interval(values)
    assert effect.high - effect.mean == pytest.approx(half, rel=1e-6)
    assert effect.mean == pytest.approx(standard.fmean(values), abs=1e-6)
    assert effect.pairs == len(values) and effect.freedom == pytest.approx(len(values) - 1)


@given(FLOATS, st.floats(-100, 100))
def test_tests_are_the_one_sample_t_test(values: list[float], boundary: float) -> None:
    if standard.stdev(values) < 1e-3:
        return
    effect = stratified_effect({"a": values})
    for p, alternative in ((effect.above, "greater"), (effect.below, "less")):
        expected = stats.ttest_1samp(values, boundary, alternative=alternative).pvalue
        assert p(boundary) == pytest.approx(expected, abs=1e-6)


def test_strata_of_different_level_do_not_widen_the_interval() -> None:
    near = stratified_effect({"a": [1.0, 1.2, 0.8], "b": [1.1, 0.9, 1.0]})
    far = stratified_effect({"a": [1.0, 1.2, 0.8], "b": [101.1, 100.9, 101.0]})
    assert far.mean == pytest.approx(near.mean + 50)
    assert far.high - far.low == pytest.approx(near.high - near.low)


def test_two_equal_strata_equal_welch_with_pooled_freedom() -> None:
    values = [1.0, 2.0, 4.0]
    effect = stratified_effect({"a": values, "b": values})
    error = standard.stdev(values) / math.sqrt(3) / math.sqrt(2)
    assert effect.high - effect.mean == pytest.approx(stats.t.ppf(0.975, 4) * error)


def test_degrees_of_freedom_are_welchs() -> None:
    # The mean of two strata is half of Welch's difference with one sign flipped.
    first, second = [1.0, 5.0, 9.0, 2.0], [0.1, 0.2, 0.4]
    effect = stratified_effect({"a": first, "b": [-value for value in second]})
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert effect.freedom == pytest.approx(welch.df)
    low, high = welch.confidence_interval(0.9)
    assert effect.limits(0.9) == pytest.approx((low / 2, high / 2))


def test_the_largest_cell_and_its_share_of_the_variance() -> None:
    effect = stratified_effect({"a": [0.0, 1.0, 2.0], "b": [0.0, 3.0, 6.0], "c": [1.0, 1.0, 1.0]})
    assert effect.largest == ("b", pytest.approx(0.9))
    assert stratified_effect({"a": [1.0, 2.0]}).largest is None
    assert stratified_effect({"a": [1.0, 1.0], "b": [1.0, 1.0]}).largest is None


def test_single_seeds_are_compared_over_the_strata() -> None:
    effect = stratified_effect({"a": [1.0], "b": [2.0], "c": [4.0]})
    assert effect.high - effect.mean == pytest.approx(statistics.half_interval([1.0, 2.0, 4.0]))
    assert effect.over_strata and not stratified_effect({"a": [1.0, 2.0]}).over_strata


def test_nothing_and_one_value() -> None:
    nothing = stratified_effect({"a": []})
    assert nothing.pairs == 0 and math.isnan(nothing.mean) and math.isnan(nothing.above(0))
    one = stratified_effect({"a": [3.0]})
    assert one.mean == 3.0 and math.isnan(one.low) and not one.bounded
    # A cell without its second seed has no spread and waits for the seed.
    uneven = stratified_effect({"a": [3.0], "b": [1.0, 2.0]})
    assert uneven.mean == 1.5 and uneven.bounded


def test_without_spread_all_is_certain() -> None:
    effect = stratified_effect({"a": [1.0, 1.0], "b": [2.0, 2.0]})
    assert (effect.low, effect.high) == (1.5, 1.5)
    assert effect.above(1.0) == 0 and effect.above(1.5) == 1 and effect.below(2.0) == 0


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_two_shares_give_newcombes_interval(level: float) -> None:
    # If only take-off varies, the interval is that of a difference of proportions.
    shares = (Share(15, 20, 50.0), Share(4, 20, -50.0))
    effect = stratified_effect({0: Stratum((50.0,) * 11 + (0.0,) * 9, shares, (0.0,) * 20)})
    expected = confint_proportions_2indep(15, 20, 4, 20, method="newcomb", alpha=1 - level)
    assert effect.limits(level) == pytest.approx([50 * end for end in expected])


def test_few_runs_have_the_exact_interval() -> None:
    for of, method in ((3, "beta"), (9, "beta"), (10, "wilson"), (30, "wilson")):
        expected = proportion_confint(1, of, 0.05, method=method)
        assert statistics.proportion_limits(1, of) == pytest.approx(expected)


def two_points() -> Effect:
    shares = (Share(9, 12, 55.0), Share(5, 12, -55.0))
    rest = tuple(np.random.default_rng(0).normal(0, 3, 12))
    values = tuple(rest[:4]) + tuple(value + 55 for value in rest[4:8]) + tuple(rest[8:])
    return stratified_effect({"a": Stratum(values, shares, rest), "b": [1.0, 3.0, 2.5, 0.5]})


@pytest.mark.parametrize("boundary", [-20.0, -2.0, 0.0, 5.0, 9.0, 30.0, 60.0])
def test_p_values_are_those_at_which_intervals_end(boundary: float) -> None:
    effect = two_points()
    above, below = effect.above(boundary), effect.below(boundary)
    assert above + below == pytest.approx(1)
    p = min(above, below)
    if p > 1e-9:
        ends = effect.limits(1 - 2 * p)
        assert min(abs(float(end) - boundary) for end in ends) < 1e-2


def test_an_interval_with_shares_is_wider_on_the_side_that_may_be() -> None:
    never = stratified_effect({0: Stratum((0.0,) * 12, (Share(0, 12, 55.0),), (0.0,) * 12)})
    assert never.low == pytest.approx(0) and never.high == pytest.approx(13.3, abs=0.1)
