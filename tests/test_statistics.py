"""aa_ray.statistics against numpy, and at the edges."""

import math
import statistics as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aa_ray import statistics

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
