"""Simulates how many seeds would settle an open claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aa_ray.report.statistics import Stratum, deviation, mean, t_tail
from aa_ray.report.verdicts import ALPHA, Rule

POWER = 0.8
SIMULATIONS = 2_000
# The largest number of seeds considered.
MOST_SEEDS = 1_000


class Spread(NamedTuple):
    """Mean and standard deviation of a cell's paired differences, assumed to be the true ones."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class SimulatedEffects:
    """One effect per simulation: estimates, standard errors, degrees of freedom, each [n]."""

    mean: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def above(self, boundary: float) -> np.ndarray:
        """See ``statistics.Effect``."""
        return np.asarray(t_tail(self.mean - boundary, self.error, self.freedom))

    def below(self, boundary: float) -> np.ndarray:
        """See ``statistics.Effect``."""
        return np.asarray(t_tail(boundary - self.mean, self.error, self.freedom))


def seeds_to_settle(
    groups: Sequence[Sequence[Stratum]], rule: Rule, tests: int = 1, power: float = POWER
) -> int | None:
    """Seeds per cell with which the rule reaches a verdict with probability ``power``.

    It assumes that the observed means and spreads are the true ones and that differences are
    normal. The spread of a few seeds is itself uncertain, and so is the answer.

    Args:
        groups: the cells of each effect that the rule tests; cells with one seed are left out.
        rule: the rule of the verdict.
        tests: number of open claims, by which Holm's method divides the level.

    Returns:
        A number larger than that of existing seeds; ``MOST_SEEDS + 1`` if even ``MOST_SEEDS`` are
        not enough; None if spreads are not known.
    """
    replicated = [[stratum for stratum in g if len(stratum.values) > 1] for g in groups]
    if not replicated or not all(replicated):
        return None
    spreads = [[Spread(mean(s.values), deviation(s.values)) for s in g] for g in replicated]
    have = max(len(stratum.values) for g in replicated for stratum in g)
    return _smallest(have + 1, lambda seeds: decided(spreads, rule, seeds, ALPHA / tests) >= power)


def decided(
    groups: Sequence[Sequence[Spread]], rule: Rule, seeds: int, alpha: float = ALPHA
) -> float:
    """The probability that a rule reaches a verdict with this many seeds per cell."""
    rng = np.random.default_rng(0)
    simulated = [_simulate(spreads, seeds, rng) for spreads in groups]
    holds, fails = rule.test(simulated)
    return float(np.mean((holds <= alpha) | (fails <= alpha)))


def _simulate(spreads: Sequence[Spread], seeds: int, rng: np.random.Generator) -> SimulatedEffects:
    """Effects of cells with ``seeds`` normal differences each, from their sufficient statistics."""
    means, deviations = (np.array(column) for column in zip(*spreads, strict=True))
    size = (SIMULATIONS, len(spreads))
    centers = means + deviations / np.sqrt(seeds) * rng.normal(size=size)  # [simulations, cells]
    chi_square = rng.chisquare(seeds - 1, size)
    variances = deviations**2 / seeds * chi_square / (seeds - 1)  # variances of the cells' means
    total = variances.sum(axis=1)
    squares = (variances**2).sum(axis=1) / (seeds - 1)
    freedom = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
    return SimulatedEffects(centers.mean(axis=1), np.sqrt(total) / len(spreads), freedom)


def _smallest(first: int, enough: Callable[[int], bool]) -> int:
    """The smallest number from ``first`` on that is enough; larger ones are assumed to be too."""
    if enough(first):
        return first
    low, high = first, 2 * first
    while not enough(min(high, MOST_SEEDS)):
        if high >= MOST_SEEDS:
            return MOST_SEEDS + 1
        low, high = high, 2 * high
    high = min(high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
