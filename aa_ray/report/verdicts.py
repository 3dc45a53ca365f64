"""Turns effects into verdicts: a claim holds, does not hold, or stays open.

A claim names a region of effects, such as "within 2 points of 0", and its rule names a region in
which the claim is wrong. Each region is tested: the p value is the largest of the one-sided p
values at its ends (two one-sided tests, Schuirmann 1987). A claim about a direction is tested
two-sided, as usual, so its 95 % interval must exclude the boundary. Being on par is tested at 5 %
with the 90 % interval. p values are adjusted for the number of claims (Holm 1979), separately for
"holds" and "does not hold". So the probability of any false "holds" in a table is at most 5 %, and
that of any false "does not hold" too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

# Points of score (x 100) within which two methods count as on par. The paper gives none.
MARGIN = 2.0
ALPHA = 0.05
HOLDS, FAILS, OPEN = "holds", "does not hold", "not enough data"
# The verdict for claims whose scores or selections are at chance.
UNINFORMATIVE = "uninformative"
# No row measures the claim.
NOT_RUN = "not run"


class Testable(Protocol):
    """An effect, or an array of simulated ones; see ``statistics.Effect``."""

    def above(self, boundary: float) -> Any:
        """One-sided p value of "not above the boundary"."""

    def below(self, boundary: float) -> Any:
        """One-sided p value of "not below the boundary"."""


@dataclass(frozen=True)
class Region:
    """Effects between ``low`` and ``high``.

    Attributes:
        two_sided: whether p values are doubled, since the opposite would have been reported too.
    """

    low: float = -math.inf
    high: float = math.inf
    two_sided: bool = False

    def p_value(self, effect: Testable) -> Any:
        """p value of "the effect is not in the region"."""
        ends = [effect.above(self.low)] if self.low > -math.inf else []
        ends += [effect.below(self.high)] if self.high < math.inf else []
        largest = np.max(np.array(ends), axis=0)  # NaN stays
        return np.minimum(1.0, (1 + self.two_sided) * largest)


@dataclass(frozen=True)
class Rule:
    """The rule that decides a claim.

    Attributes:
        text: the rule in words.
        holds: the region where the claim is right.
        fails: the regions where it is wrong.
    """

    text: str
    holds: Region
    fails: tuple[Region, ...] = ()

    def test(self, effects: Sequence[Testable]) -> tuple[Any, Any]:
        """p values of "holds" and of "does not hold".

        Args:
            effects: one, or several if the claim is about each of them. Then it holds if it holds
                for all (intersection-union test), and fails if it fails for any; that p value is
                multiplied by their number (Bonferroni).
        """
        holding = [self.holds.p_value(effect) for effect in effects]
        failing = [region.p_value(effect) for effect in effects for region in self.fails]
        if not holding:
            return float("nan"), float("nan")
        holds = np.max(np.array(holding), axis=0)
        if not failing:
            return holds, np.full_like(holds, np.nan)
        return holds, np.minimum(1.0, len(effects) * np.min(np.array(failing), axis=0))

    def decide(self, effect: Testable) -> str:
        """The verdict on a single claim, without adjustment for others."""
        return verdict(*self.test([effect]))


def verdict(holds: float, fails: float, alpha: float = ALPHA) -> str:
    """``HOLDS``, ``FAILS`` or ``OPEN`` from the p values of a rule; NaN decides nothing."""
    if holds <= alpha:
        return HOLDS
    return FAILS if fails <= alpha else OPEN


def differs(effect: Testable) -> float:
    """Two-sided p value of "no difference"; NaN if the effect cannot be tested."""
    sides = [Region(low=0.0, two_sided=True), Region(high=0.0, two_sided=True)]
    return float(min(side.p_value(effect) for side in sides))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for their number by Holm's method; NaN (not tested) stays NaN.

    ``statsmodels.stats.multitest.multipletests`` gives the same result, but runs a full garbage
    collection, which takes a second once torch is loaded.
    """
    values = np.array(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested])]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return values.tolist()


def better(margin: float = MARGIN) -> Rule:
    """The rule for "better", by any amount."""
    return Rule(
        f"95 % interval above 0; does not hold if the 90 % interval lies below {margin:g} points",
        Region(low=0.0, two_sided=True),
        (Region(high=margin),),
    )


def considerably_better(margin: float = MARGIN) -> Rule:
    """The rule for "better by more than the margin"."""
    return Rule(
        f"95 % interval above {margin:g} points; does not hold if the 90 % interval lies below",
        Region(low=margin, two_sided=True),
        (Region(high=margin),),
    )


def near(value: float, margin: float = MARGIN) -> Rule:
    """The rule for "within a margin of a value"."""
    around = "±" if value == 0 else f"{value:+g} ± "
    return Rule(
        f"90 % interval within {around}{margin:g} points; does not hold if the 95 % interval lies "
        "outside",
        *_within(value - margin, value + margin),
    )


def on_par(margin: float = MARGIN) -> Rule:
    """The rule for "equal up to the margin"."""
    return near(0.0, margin)


def not_better(margin: float = MARGIN) -> Rule:
    """The rule for "on par or worse"."""
    return Rule(
        f"90 % interval below {margin:g} points; does not hold if the 95 % interval lies above",
        Region(high=margin),
        (Region(low=margin, two_sided=True),),
    )


def within(low: float, high: float, text: str) -> Rule:
    """The rule for "between two bounds"."""
    return Rule(text, *_within(low, high))


def _within(low: float, high: float) -> tuple[Region, tuple[Region, ...]]:
    outside = Region(low=high, two_sided=True), Region(high=low, two_sided=True)
    return Region(low, high), outside


# A rule that depends on the margin.
MakeRule = Callable[[float], Rule]
