"""Formats marks, commands and intervals for the report's page."""

import math

from markupsafe import Markup, escape

from aa_ray.report import statistics
from aa_ray.report.tables import HYPHEN_MINUS, MINUS, SUPERSCRIPT, Entry

# No score x 100 is further from 0.
LARGEST_SCORE = 100.0


def label(text: str) -> Markup:
    """The text, escaped, with the mark of each ``name^mark`` raised."""
    parts = SUPERSCRIPT.split(text)  # plain, mark, plain, mark, ..., plain
    return Markup("").join(
        Markup("<sup>%s</sup>") % part if i % 2 else escape(part) for i, part in enumerate(parts)
    )


def minus(text: str) -> str:
    """The text with minus signs before its negative numbers."""
    return HYPHEN_MINUS.sub(MINUS, text)


def words(command: str) -> Markup:
    """A command line that breaks only between words on a narrow page, if they are short."""
    spans = (Markup("<span>%s</span>") % word for word in command.split(" "))
    return Markup(" ").join(spans)


def interval(entry: Entry) -> str | None:
    """The 95 % t interval of an entry's mean over seeds; None if it is not known.

    The interval is cut off at -100 and 100, since no score x 100 is beyond.
    """
    if entry.mean is None or entry.deviation is None or entry.seeds is None:
        return None
    half = statistics.half_interval_of(entry.deviation, entry.seeds)
    if math.isnan(half):
        return None
    low, high = max(-LARGEST_SCORE, entry.mean - half), min(LARGEST_SCORE, entry.mean + half)
    return minus(f"{low:.1f} to {high:.1f}")
