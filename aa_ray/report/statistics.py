"""Mean differences over cells with intervals and tests: the arithmetic behind all verdicts.

A cell (a task in a regime) gives one paired difference per seed: a ``Stratum``. An ``Effect`` is
the mean over strata with equal weights. The strata are fixed and the seeds are a sample. So the
variance is that of the strata's means, and the degrees of freedom are Satterthwaite's.

In some cells a training run either takes off (ends above chance) or stays at chance. A few
differences then say nothing about how often it does, and a t interval from them covers far too
rarely. So each line's share of runs that took off gets its own interval (Wilson's; Clopper and
Pearson's below ``FEW_RUNS`` runs), and the remaining variation within the two groups of runs gets a
t interval. The parts are combined as in Newcombe (1998) for a difference of two shares, and as in
Zou and Donner (2008, "MOVER") for any sum of independent estimates. ``benchmarks/verdicts.py``
measures the coverage of both types of interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

# With fewer runs Wilson's interval of a share covers too rarely in a sum; see the benchmark.
FEW_RUNS = 10

# The smallest p value distinguished from 0 if an interval has to be inverted for it.
SMALLEST_P = 1e-12


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN without values."""
    return float(np.mean(values)) if len(values) else float("nan")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1 in the denominator); NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def half_interval(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the t interval of the mean; NaN for fewer than two values."""
    return half_interval_of(deviation(values), len(values), level)


def half_interval_of(spread: float, count: int, level: float = 0.95) -> float:
    """``half_interval`` of ``count`` values with the sample standard deviation ``spread``."""
    if count < 2:
        return float("nan")
    return float(t_quantile((1 + level) / 2, count - 1) * spread / math.sqrt(count))


class Share(NamedTuple):
    """The share of a line's training runs that took off, and its contribution to an effect.

    Attributes:
        took_off, of: runs that took off, and all runs.
        points: the score difference between runs that took off and others; negative for the
            subtracted line.
    """

    took_off: int
    of: int
    points: float

    @property
    def estimate(self) -> float:
        """The contribution in points."""
        return self.points * self.took_off / self.of

    def limits(self, level: Any) -> tuple[Any, Any]:
        """The interval of the contribution, for one confidence level or an array of them."""
        ends = [self.points * end for end in proportion_limits(self.took_off, self.of, level)]
        return (ends[0], ends[1]) if self.points >= 0 else (ends[1], ends[0])


def proportion_limits(count: float, of: int, level: Any = 0.95) -> tuple[Any, Any]:
    """Interval of a proportion: Wilson's, or Clopper and Pearson's below ``FEW_RUNS`` runs."""
    from statsmodels.stats.proportion import proportion_confint

    method = "wilson" if of >= FEW_RUNS else "beta"
    alpha = 1 - np.asarray(level)
    low, high = proportion_confint(np.full(alpha.shape, count), of, alpha, method=method)
    return low, high


@dataclass(frozen=True)
class Stratum:
    """The paired differences of one cell.

    Attributes:
        values: one difference per seed.
        shares: each line's share of runs that took off, if some of the cell's runs did and others
            did not; else empty.
        rest: per seed, the part of the difference that the shares do not explain; ``values``
            without shares.
    """

    values: tuple[float, ...]
    shares: tuple[Share, ...] = ()
    rest: tuple[float, ...] = ()

    @property
    def within(self) -> tuple[float, ...]:
        """The differences for the t interval."""
        return self.rest if self.shares else self.values


@dataclass(frozen=True)
class Effect:
    """A mean difference in the unit of the values, with the basis of its intervals and tests.

    Attributes:
        mean: the mean difference; NaN without data.
        pairs: number of paired values.
        error: standard error of the mean, without the part in ``shares``; NaN without replication.
        freedom: degrees of freedom of that error.
        shares: contributions of shares of runs that took off.
        largest: the stratum with the largest share of the variance, and that share; None for a
            single stratum.
        over_strata: whether the strata themselves are the sample, since none has a second seed.
    """

    mean: float
    pairs: int = 0
    error: float = float("nan")
    freedom: float = float("nan")
    shares: tuple[Share, ...] = ()
    largest: tuple[Any, float] | None = None
    over_strata: bool = False

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.error)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval; NaN if it is not known."""
        return self._interval[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval; NaN if it is not known."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[float, float]:
        low, high = self.limits(0.95)
        return float(low), float(high)

    def limits(self, level: Any) -> tuple[Any, Any]:
        """The interval at a confidence level, or for an array of levels."""
        half = 0.0 if self.error == 0 else self.error * t_quantile((1 + level) / 2, self.freedom)
        below = above = np.square(half)
        for share in self.shares:
            low, high = share.limits(level)
            below = below + (share.estimate - low) ** 2
            above = above + (high - share.estimate) ** 2
        return self.mean - np.sqrt(below), self.mean + np.sqrt(above)

    def above(self, boundary: float) -> float:
        """One-sided p value of "the true effect is not above the boundary"."""
        return self._p_value(boundary, 1)

    def below(self, boundary: float) -> float:
        """One-sided p value of "the true effect is not below the boundary"."""
        return self._p_value(boundary, -1)

    def _p_value(self, boundary: float, sign: int) -> float:
        """``above`` for a sign of 1, ``below`` for -1; NaN without an interval."""
        distance = sign * (self.mean - boundary)
        if not self.bounded:
            return float("nan")
        if not self.shares:
            return float(t_tail(distance, self.error, self.freedom))
        return self._inverted(boundary, sign if distance >= 0 else -sign, distance >= 0)

    def _inverted(self, boundary: float, side: int, small: bool) -> float:
        """The p at which the 1 - 2 p interval ends at the boundary; 1 - p unless ``small``."""
        first, last = math.log(SMALLEST_P), math.log(0.5)
        for _ in range(2):  # a grid, and a finer one between two of its points
            logs = np.linspace(first, last, 100)
            low, high = self.limits(-np.expm1(logs + math.log(2)))
            reached = low <= boundary if side > 0 else high >= boundary  # smaller p, wider interval
            k = int(np.flatnonzero(reached)[-1]) if reached.any() else 0
            first, last = logs[k], logs[min(k + 1, len(logs) - 1)]
        p = math.exp(first)
        return p if small else 1 - p


NO_EFFECT = Effect(float("nan"))


def stratified_effect(strata: Mapping[Any, Stratum | Sequence[float]]) -> Effect:
    """The mean over strata with equal weights, each a ``Stratum`` or its values.

    If no stratum has a second value, the strata themselves are the sample. Otherwise strata with
    fewer than two values are left out.
    """
    groups = {
        key: values if isinstance(values, Stratum) else Stratum(tuple(values))
        for key, values in strata.items()
    }
    most = max((len(group.values) for group in groups.values()), default=0)
    if most == 0:
        return NO_EFFECT
    if most == 1:
        values = [value for group in groups.values() for value in group.values]
        spread = deviation(values) / math.sqrt(len(values))
        return Effect(mean(values), len(values), spread, len(values) - 1, over_strata=True)
    replicated = {key: group for key, group in groups.items() if len(group.values) > 1}
    return _replicated_effect(replicated)


def _replicated_effect(groups: Mapping[Any, Stratum]) -> Effect:
    count = len(groups)
    sizes = np.array([len(group.values) for group in groups.values()])
    variances = np.array([np.var(group.within, ddof=1) for group in groups.values()]) / sizes
    freedom = float("nan")
    if variances.sum() > 0:
        freedom = float(variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum())
    shares = [share for group in groups.values() for share in group.shares]
    return Effect(
        float(np.mean([mean(group.values) for group in groups.values()])),
        int(sizes.sum()),
        float(np.sqrt(variances.sum())) / count,
        freedom,
        tuple(share._replace(points=share.points / count) for share in shares),
        _largest(groups) if count > 1 else None,
    )


def _largest(groups: Mapping[Any, Stratum]) -> tuple[Any, float] | None:
    """The stratum whose mean varies most, and its share of the variance of the effect."""
    variances = {
        key: deviation(group.values) ** 2 / len(group.values) for key, group in groups.items()
    }
    key = max(variances, key=lambda key: variances[key])
    total = sum(variances.values())
    return (key, variances[key] / total) if total > 0 else None


def t_tail(distance: Any, error: Any, freedom: Any) -> Any:
    """P(T >= distance / error) for Student's T; 0 or 1 if the error is 0. Accepts arrays."""
    from scipy.special import stdtr

    exact = np.where(np.asarray(distance) > 0, 0.0, 1.0)
    spread = np.asarray(error) > 0
    scaled = np.divide(distance, error, out=np.zeros_like(exact), where=spread)
    return np.where(spread, stdtr(np.where(spread, freedom, 1.0), -scaled), exact)


def t_quantile(probability: Any, freedom: Any) -> Any:
    """The quantile of Student's t distribution, equal to ``scipy.stats.t.ppf``."""
    from scipy.special import stdtrit  # imports in a third of the time

    return stdtrit(freedom, probability)
