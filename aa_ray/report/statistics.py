"""Pure functions on arrays of scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


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
    return float(_t_quantile((1 + level) / 2, count - 1) * spread / math.sqrt(count))


class Effect(NamedTuple):
    """A mean difference with its interval.

    Attributes:
        mean, low, high: in the unit of the values; NaN where it cannot be known.
        pairs: number of paired values behind it.
        per_seed_error: standard error of the mean if there were one value per stratum; NaN
            without replication.
        seeds: values per stratum, on average.
    """

    mean: float
    low: float
    high: float
    pairs: int
    per_seed_error: float
    seeds: float

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


NO_EFFECT = Effect(float("nan"), float("nan"), float("nan"), 0, float("nan"), 0.0)


def stratified_effect(strata: Mapping[Any, Sequence[float]], level: float = 0.95) -> Effect:
    """Mean of paired differences, averaged over strata that weigh the same, with a t interval.

    The strata (a task in a regime) are taken as given, the values in each (one per seed) as a
    sample: the variance is that of the strata's means, the degrees of freedom are Satterthwaite's.
    Where no stratum has more than one value, the strata themselves are the sample. Strata without
    values are left out.
    """
    groups = [np.asarray(values, dtype=float) for values in strata.values() if len(values)]
    if not groups:
        return NO_EFFECT
    pairs = sum(map(len, groups))
    if max(map(len, groups)) == 1:
        groups = [np.concatenate(groups)]
    center = float(np.mean([group.mean() for group in groups]))
    if min(map(len, groups)) < 2:
        return Effect(center, float("nan"), float("nan"), pairs, float("nan"), pairs / len(groups))
    sizes = np.array([len(group) for group in groups])
    variances = np.array([group.var(ddof=1) for group in groups]) / sizes
    error = float(np.sqrt(variances.sum())) / len(groups)
    per_seed = float(np.sqrt((variances * sizes).sum())) / len(groups)
    if error == 0:
        return Effect(center, center, center, pairs, 0.0, float(sizes.mean()))
    freedom = variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum()
    half = _t_quantile((1 + level) / 2, freedom) * error
    return Effect(center, center - half, center + half, pairs, per_seed, float(sizes.mean()))


def seeds_to_settle(effect: Effect, boundary: float, level: float = 0.95) -> int | None:
    """Seeds per stratum after which the interval would lie on one side of the boundary.

    Supposes that mean and spread stay as they are, and a normal quantile. None where the spread is
    not known, or the mean lies on the boundary.
    """
    distance = abs(effect.mean - boundary)
    if math.isnan(effect.per_seed_error) or distance == 0 or math.isnan(distance):
        return None
    quantile = _normal_quantile((1 + level) / 2)
    return max(2, math.ceil((quantile * effect.per_seed_error / distance) ** 2))


# SciPy's special functions take a third of the time that ``scipy.stats``, which calls them, takes
# to import; and tables without intervals need neither.


def _t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution, as ``scipy.stats.t.ppf`` gives it."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _normal_quantile(probability: float) -> float:
    """The quantile of the standard normal distribution, as ``scipy.stats.norm.ppf`` gives it."""
    from scipy.special import ndtri

    return float(ndtri(probability))
