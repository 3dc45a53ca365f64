"""aa_ray.report.strips: effects in points share a scale; each other unit has its own."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.report.judgement import Judgement
from aa_ray.report.statistics import NO_EFFECT, Effect
from aa_ray.report.strips import Strip, strip
from tests.report.test_verdicts import made_effect

NAN = float("nan")


def at(
    mean: float, low: float, high: float, unit: str = "points",
    band: tuple[float, float] | None = None,
) -> Strip:  # fmt: skip
    effect = dataclasses.replace(made_effect(low, high), mean=mean)
    found = strip(Judgement("C1", "", effect, unit, "", "", band=band), 2.0)
    assert found is not None
    return found


def test_points_share_a_scale_with_the_margin_as_its_band() -> None:
    found = at(0, -5, 5)
    assert (found.mean, found.low, found.width, found.beyond) == (50, 25, 50, "")
    assert (found.zero, found.band, found.band_width, found.ends) == (50, 40, 20, ())


def test_what_goes_further_ends_at_the_edge_with_an_arrow() -> None:
    found = at(30, -99, 99)
    assert (found.mean, found.low, found.width) == (100, 0, 100)
    assert found.beyond == "below above"
    assert at(-5, -11, 1).beyond == "below"


def test_without_an_interval_or_an_effect() -> None:
    assert at(1, NAN, NAN).low is None
    assert strip(Judgement("C1", "", NO_EFFECT, "points", "", ""), 2.0) is None


def test_other_units_have_scales_of_their_own() -> None:
    share = at(0.84, 0.81, 0.86, "share of layers", (0.5, 0.6))
    assert (share.mean, share.zero, share.ends) == (84, 0, ("0", "1"))
    assert (share.band, share.band_width) == (50, 10)
    ratio = at(0.5, NAN, NAN, "ratio")
    assert (ratio.mean, ratio.zero, ratio.ends, ratio.band) == (25, 50, ("0", "2"), None)
    distance = at(0.1, -0.26, 0.4, "Jaccard distance", (-0.05, 0.05))
    assert distance.ends == ("\N{MINUS SIGN}0.5", "0.5") and distance.mean == 60
    assert at(70.0, NAN, NAN, "RMS of R(x)").mean == 100


UNITS = st.sampled_from(["points", "ratio", "Jaccard distance"])


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3), UNITS)
def test_everything_lies_on_the_strip(mean: float, half: float, unit: str) -> None:
    effect = Effect(mean, 5, half, 4.0)
    found = strip(Judgement("C1", "", effect, unit, "", "", band=(mean - half, mean)), 2.0)
    assert found is not None and found.low is not None and found.width is not None
    assert 0 <= found.low <= found.mean + 0.01 <= found.low + found.width + 0.03 <= 100.05
    assert found.band is not None and found.band_width is not None
    assert 0 <= found.band <= found.band + found.band_width <= 100.01
    assert 0 <= found.zero <= 100


@pytest.mark.parametrize("margin", [0.5, 4.0])
def test_the_band_follows_the_margin(margin: float) -> None:
    found = strip(Judgement("C1", "", Effect(0.0, 1), "points", "", ""), margin)
    assert found is not None and found.band_width == pytest.approx(10 * margin)
