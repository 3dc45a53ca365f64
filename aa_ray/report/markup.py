"""How the report's page writes marks, commands and intervals."""

import math
from typing import Any

from markupsafe import Markup, escape

from aa_ray.report import statistics
from aa_ray.report.claims import Judgement
from aa_ray.report.tables import SUPERSCRIPT, Entry

# Points of score that the strip beside a claim shows on either side of 0.
STRIP = 10.0


def label(text: str) -> Markup:
    """``name^mark`` with the mark raised, wherever it stands in the text; escaped."""
    parts = SUPERSCRIPT.split(text)  # plain, mark, plain, mark, ..., plain
    return Markup("").join(
        Markup("<sup>%s</sup>") % part if i % 2 else escape(part) for i, part in enumerate(parts)
    )


def words(command: str) -> Markup:
    """A command line that a narrow page breaks between its words only, where they are short."""
    spans = (Markup("<span>%s</span>") % word for word in command.split(" "))
    return Markup(" ").join(spans)


def interval(entry: Entry) -> str | None:
    """The 95 % t interval of an entry's mean over seeds; None where it cannot be known."""
    if entry.mean is None or entry.deviation is None or entry.seeds is None:
        return None
    half = statistics.half_interval_of(entry.deviation, entry.seeds)
    return None if math.isnan(half) else f"{entry.mean - half:.1f} to {entry.mean + half:.1f}"


def strip(judgement: Judgement) -> dict[str, Any] | None:
    """Where a claim's mean and interval lie on a strip of ±``STRIP`` points, in percent.

    ``beyond``: the sides, below and above, on which the interval goes further. None for other
    units, and where there is no effect.
    """
    effect = judgement.effect
    if judgement.unit != "points" or math.isnan(effect.mean):
        return None

    def place(value: float) -> float:
        return round(50 * (1 + max(-STRIP, min(STRIP, value)) / STRIP), 2)

    places: dict[str, Any] = {"mean": place(effect.mean), "low": None, "beyond": ""}
    if effect.bounded:
        low, high = place(effect.low), place(effect.high)
        places |= {"low": low, "width": round(high - low, 2)}
        sides = {"below": effect.low < -STRIP, "above": effect.high > STRIP}
        places["beyond"] = " ".join(side for side, beyond in sides.items() if beyond)
    return places
