"""How an effect becomes a verdict: whether a claim holds, does not hold, or stays open."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from aa_ray.report.statistics import Effect

# Points of score (x 100) within which two methods count as on par.
MARGIN = 2.0
HOLDS, FAILS, OPEN = "holds", "does not hold", "not enough data"


@dataclass(frozen=True)
class Rule:
    """How an effect becomes a verdict.

    Attributes:
        text: for people.
        holds, fails: (low, high) of the interval -> whether it decides that way.
        boundary: the value that the interval must leave, given the mean.
    """

    text: str
    holds: Callable[[float, float], bool]
    fails: Callable[[float, float], bool]
    boundary: Callable[[float], float]

    def verdict(self, effect: Effect) -> str:
        """``HOLDS``, ``FAILS``, or ``OPEN`` where the interval is unknown or too wide."""
        if not effect.bounded:
            return OPEN
        if self.holds(effect.low, effect.high):
            return HOLDS
        return FAILS if self.fails(effect.low, effect.high) else OPEN


BETTER = Rule(
    "interval above 0; does not hold if it is below 0 or within ±2 points",
    holds=lambda low, high: low > 0,
    fails=lambda low, high: high < 0 or (low > -MARGIN and high < MARGIN),
    boundary=lambda mean: 0.0,
)
ON_PAR = Rule(
    "interval within ±2 points; does not hold if it lies outside",
    holds=lambda low, high: low > -MARGIN and high < MARGIN,
    fails=lambda low, high: low > MARGIN or high < -MARGIN,
    boundary=lambda mean: math.copysign(MARGIN, mean),
)
NOT_BETTER = Rule(
    "interval below 2 points; does not hold if it lies above",
    holds=lambda low, high: high < MARGIN,
    fails=lambda low, high: low > MARGIN,
    boundary=lambda mean: MARGIN,
)

# Of layers: more than the ones between seeds do, and more than one time in ten.
DIFFER_BEYOND_SEEDS = Rule(
    "interval above 0; does not hold if it is below",
    holds=lambda low, high: low > 0,
    fails=lambda low, high: high < 0,
    boundary=lambda mean: 0.0,
)
DIFFER_IN_A_TENTH = Rule(
    "interval above 0.1 (0: always the same, 1: never a common layer)",
    holds=lambda low, high: low > 0.1,
    fails=lambda low, high: high < 0.1,
    boundary=lambda mean: 0.1,
)
