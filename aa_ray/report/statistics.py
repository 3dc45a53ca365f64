"""Mean differences over cells with their intervals and tests: the arithmetic of every verdict.

A cell (a task in a regime) gives one paired difference per seed: a ``Stratum``. An ``Effect`` is
the mean over strata that weigh the same. The strata are taken as given and the seeds as a sample.
So the variance is that of the strata's means, and the degrees of freedom are Satterthwaite's.

In some cells a training run either takes off or stays at chance. A few differences then say nothing
about how often it does, and a t interval from them covers far too rarely. There each line's share
of runs that took off gets an interval of its own (Wilson's; Clopper and Pearson's below
``FEW_RUNS`` runs), and what is left within the two kinds of runs gets a t interval. The parts are
put together as Newcombe (1998) does for a difference of two shares, and Zou and Donner (2008,
"MOVER") for any sum of independent estimates. ``benchmarks/verdicts.py`` measures the coverage of
both kinds of interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

# Below as many runs Wilson's interval of a share covers too rarely in a sum; see the benchmark.
FEW_RUNS = 10

# The smallest p value that is told from 0, where an interval has to be inverted for it.
SMALLEST_P = 1e-12


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1 in the denominator); NaN of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def half_interval(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the t interval of the mean; NaN of fewer than two values."""
    return half_interval_of(deviation(values), len(values), level)


def half_interval_of(spread: float, count: int, level: float = 0.95) -> float:
    """``half_interval`` of ``count`` values with that sample standard deviation."""
    if count < 2:
        return float("nan")
    return float(t_quantile((1 + level) / 2, count - 1) * spread / math.sqrt(count))


class Share(NamedTuple):
    """The share of a line's training runs that took off, and what it contributes to an effect.

    Attributes:
        took_off, of: runs that took off, and all runs.
        points: the difference in score between runs that took off and others; negative for the
            line that is subtracted.
    """

    took_off: int
    of: int
    points: float

    @property
    def estimate(self) -> float:
        """The contribution, in points."""
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
        values: one per seed.
        shares: each line's share of runs that took off, where some of the cell's runs did and
            others did not; else empty.
        rest: per seed, the difference without what the shares explain; ``values`` without shares.
    """

    values: tuple[float, ...]
    shares: tuple[Share, ...] = ()
    rest: tuple[float, ...] = ()

    @property
    def within(self) -> tuple[float, ...]:
        """The differences whose spread a t interval is for."""
        return self.rest if self.shares else self.values


@dataclass(frozen=True)
class Effect:
    """A mean difference, in the unit of the values, with what its intervals and tests follow from.

    Attributes:
        mean: NaN where there is nothing.
        pairs: number of paired values behind it.
        error: standard error of the mean, without the part in ``shares``; NaN without replication.
        freedom: degrees of freedom of that error.
        shares: contributions of shares of runs that took off.
        largest: the stratum with the largest part of the variance, and that part; None for one
            stratum.
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
        """Lower end of the 95 % interval; NaN where it cannot be known."""
        return self._interval[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval; NaN where it cannot be known."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[float, float]:
        low, high = self.limits(0.95)
        return float(low), float(high)

    def limits(self, level: Any) -> tuple[Any, Any]:
        """The interval at a confidence level, or at an array of levels."""
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
        """The p at which the 1 - 2 p interval ends at the boundary; 1 - p where not ``small``."""
        first, last = math.log(SMALLEST_P), math.log(0.5)
        for _ in range(2):  # a grid, and a finer one between two of its points
            logs = np.linspace(first, last, 100)
            low, high = self.limits(-np.expm1(logs + math.log(2)))
            reached = low <= boundary if side > 0 else high >= boundary  # the smaller p, the wider
            k = int(np.flatnonzero(reached)[-1]) if reached.any() else 0
            first, last = logs[k], logs[min(k + 1, len(logs) - 1)]
        p = math.exp(first)
        return p if small else 1 - p


NO_EFFECT = Effect(float("nan"))


def stratified_effect(strata: Mapping[Any, Stratum | Sequence[float]]) -> Effect:
    """The mean over strata that weigh the same, each a ``Stratum`` or its values.

    Where no stratum has a second value, the strata themselves are the sample. Otherwise those that
    have one value only are left out, as are those without any.
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
    """The stratum whose mean varies the most, and its part of the variance of the effect."""
    variances = {
        key: deviation(group.values) ** 2 / len(group.values) for key, group in groups.items()
    }
    key = max(variances, key=lambda key: variances[key])
    total = sum(variances.values())
    return (key, variances[key] / total) if total > 0 else None


def t_tail(distance: Any, error: Any, freedom: Any) -> Any:
    """P(T >= distance / error) for Student's T; 0 or 1 where there is no error. Takes arrays."""
    from scipy.special import stdtr

    exact = np.where(np.asarray(distance) > 0, 0.0, 1.0)
    spread = np.asarray(error) > 0
    scaled = np.divide(distance, error, out=np.zeros_like(exact), where=spread)
    return np.where(spread, stdtr(np.where(spread, freedom, 1.0), -scaled), exact)


def t_quantile(probability: Any, freedom: Any) -> Any:
    """The quantile of Student's t distribution, as ``scipy.stats.t.ppf`` gives it."""
    from scipy.special import stdtrit  # takes a third of the time to import

    return stdtrit(freedom, probability)
