"""aa_ray.report.statistics against numpy, and at the edges."""

import math
import statistics as standard

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aa_ray.report import statistics

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
    effect = statistics.stratified_effect({"a": values})
    half = statistics.half_interval(values)
    assert effect.high - effect.mean == pytest.approx(half, rel=1e-6)
    assert effect.mean == pytest.approx(standard.fmean(values), abs=1e-6)
    assert effect.pairs == len(values)


def test_strata_of_different_level_do_not_widen_the_interval() -> None:
    near = statistics.stratified_effect({"a": [1.0, 1.2, 0.8], "b": [1.1, 0.9, 1.0]})
    far = statistics.stratified_effect({"a": [1.0, 1.2, 0.8], "b": [101.1, 100.9, 101.0]})
    assert far.mean == pytest.approx(near.mean + 50)
    assert far.high - far.low == pytest.approx(near.high - near.low)


def test_two_equal_strata_equal_welch_with_pooled_freedom() -> None:
    values = [1.0, 2.0, 4.0]
    effect = statistics.stratified_effect({"a": values, "b": values})
    error = standard.stdev(values) / math.sqrt(3) / math.sqrt(2)
    assert effect.high - effect.mean == pytest.approx(stats.t.ppf(0.975, 4) * error)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        strata = {t: (t + 0.3 + rng.normal(0, 1 + t, 5)).tolist() for t in range(4)}
        effect = statistics.stratified_effect(strata)
        hits += effect.low <= 1.5 + 0.3 <= effect.high
    assert 0.92 < hits / 500 < 0.98


def test_single_seeds_are_compared_over_the_strata() -> None:
    effect = statistics.stratified_effect({"a": [1.0], "b": [2.0], "c": [4.0]})
    assert effect.high - effect.mean == pytest.approx(statistics.half_interval([1.0, 2.0, 4.0]))


def test_nothing_and_one_value() -> None:
    assert statistics.stratified_effect({"a": []}).pairs == 0
    one = statistics.stratified_effect({"a": [3.0]})
    assert one.mean == 3.0 and math.isnan(one.low)
    uneven = statistics.stratified_effect({"a": [3.0], "b": [1.0, 2.0]})
    assert math.isnan(uneven.low)


def test_seeds_to_settle() -> None:
    effect = statistics.stratified_effect({"a": [0.0, 2.0, -1.0, 3.0]})
    needed = statistics.seeds_to_settle(effect, 0.0)
    assert needed == math.ceil((1.96 * standard.stdev([0.0, 2.0, -1.0, 3.0]) / 1.0) ** 2)
    assert statistics.seeds_to_settle(effect, 1.0) is None
    assert statistics.seeds_to_settle(statistics.NO_EFFECT, 0.0) is None
