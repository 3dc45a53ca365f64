"""aa_ray.report.markup: marks, commands and intervals on the page."""

from typing import Any

import pytest
from scipy import stats

from aa_ray.report import markup
from aa_ray.report.tables import Entry


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


def test_no_interval_leaves_the_range_of_scores() -> None:
    few = Entry("", mean=51.0, deviation=14.0, seeds=2)
    assert markup.interval(few) == f"{markup.MINUS}74.8 to 100.0"


@pytest.mark.parametrize("known", [{}, {"mean": 1.0}, {"mean": 1.0, "deviation": 2.0}])
def test_without_deviation_there_is_no_interval(known: dict[str, Any]) -> None:
    assert markup.interval(Entry("", **known)) is None
