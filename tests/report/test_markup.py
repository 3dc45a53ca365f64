"""aa_ray.report.markup: marks, commands, intervals and strips, as the page has them."""

import dataclasses
from typing import Any

import pytest
from scipy import stats

from aa_ray.report import markup
from aa_ray.report.judgement import Judgement
from aa_ray.report.tables import Entry
from tests.report.test_verdicts import made_effect


def test_strips_stay_on_their_track() -> None:
    def at(mean: float, low: float, high: float) -> Any:
        effect = dataclasses.replace(made_effect(low, high), mean=mean)
        return markup.strip(Judgement("C1", "", effect, "points", "", ""))

    assert at(0, -5, 5) == {"mean": 50, "low": 25, "width": 50, "beyond": ""}
    assert at(30, -99, 99) == {"mean": 100, "low": 0, "width": 100, "beyond": "below above"}
    assert at(-5, -11, 1) == {"mean": 25, "low": 0, "width": 55, "beyond": "below"}
    assert at(1, float("nan"), float("nan"))["low"] is None
    assert at(float("nan"), float("nan"), float("nan")) is None


def test_marks_are_raised_and_all_is_escaped() -> None:
    assert markup.label("|AA-focused^spec| < 1") == "|AA-focused<sup>spec</sup>| &lt; 1"
    assert markup.label("<b>^<i>") == "&lt;b&gt;^&lt;i&gt;"
    assert markup.words("a --b <c>") == ("<span>a</span> <span>--b</span> <span>&lt;c&gt;</span>")


def test_an_interval_is_that_of_the_t_distribution() -> None:
    values = [50.0, 54.0, 61.0]
    mean, deviation = sum(values) / 3, float(stats.tstd(values))
    found = markup.interval(Entry("", mean=mean, deviation=deviation, seeds=3))
    low, high = stats.t.interval(0.95, 2, mean, stats.sem(values))
    assert found == f"{low:.1f} to {high:.1f}"


@pytest.mark.parametrize("known", [{}, {"mean": 1.0}, {"mean": 1.0, "deviation": 2.0}])
def test_without_deviation_there_is_no_interval(known: dict[str, Any]) -> None:
    assert markup.interval(Entry("", **known)) is None
