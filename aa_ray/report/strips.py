"""The strips beside the claims on the report's page: effect, interval, and decisive band.

Effects in points share one scale. Other units have separate scales, whose ends are written on the
strip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aa_ray.report.judgement import Judgement
from aa_ray.report.tables import MINUS

POINTS = "points"

# The scale's points of score on either side of 0.
SHOWN_POINTS = 10.0

# Ends of the scales of other units; further units get a scale as wide as their values.
_SCALES = {"share of layers": (0.0, 1.0), "ratio": (0.0, 2.0)}
_ENDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)


@dataclass(frozen=True)
class Strip:
    """Positions of the parts of a strip, in percent of its width.

    Attributes:
        mean: the effect.
        low, width: its 95 % interval; None without one.
        zero: the position of 0, or of 1 for a ratio.
        band, band_width: the shaded region; None without one.
        beyond: the sides, "below" and "above", on which the interval extends beyond the strip.
        ends: the scale's ends, in words; empty for points, whose ends the table's head has.
    """

    mean: float
    low: float | None
    width: float | None
    zero: float
    band: float | None
    band_width: float | None
    beyond: str
    ends: tuple[str, str] | tuple[()]


def strip(judgement: Judgement, margin: float) -> Strip | None:
    """The strip of a judgement; None if nothing was measured.

    Args:
        margin: points within which two methods are on par, the shaded band for effects in points.
            Other units shade the judgement's own band.
    """
    effect = judgement.effect
    if math.isnan(effect.mean):
        return None
    of_points = judgement.unit == POINTS
    band = (-margin, margin) if of_points else judgement.band
    first, last = _scale(judgement)

    def place(value: float) -> float:
        share = (min(max(value, first), last) - first) / (last - first)
        return round(100 * share, 2)

    def span(limits: tuple[float, float] | None) -> tuple[float | None, float | None]:
        if limits is None:
            return None, None
        low, high = map(place, limits)
        return low, round(high - low, 2)

    interval = (effect.low, effect.high) if effect.bounded else None
    sides = {"below": interval and interval[0] < first, "above": interval and interval[1] > last}
    return Strip(
        place(effect.mean),
        *span(interval),
        place(1.0 if judgement.unit == "ratio" else 0.0),
        *span(band),
        " ".join(side for side, beyond in sides.items() if beyond),
        () if of_points else (_written(first), _written(last)),
    )


def _scale(judgement: Judgement) -> tuple[float, float]:
    if judgement.unit == POINTS:
        return -SHOWN_POINTS, SHOWN_POINTS
    if judgement.unit in _SCALES:
        return _SCALES[judgement.unit]
    effect = judgement.effect
    values = [effect.mean, *(judgement.band or ())]
    values += [effect.low, effect.high] if effect.bounded else []
    largest = max(map(abs, values))
    end = next((end for end in _ENDS if end >= largest), _ENDS[-1])
    return -end, end


def _written(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)
