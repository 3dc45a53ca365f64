"""Pure functions on arrays of scores."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1 in the denominator); NaN of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def half_interval(values: Sequence[float], level: float = 0.95) -> float:
    """Half the width of the t interval of the mean; NaN of fewer than two values."""
    if len(values) < 2:
        return float("nan")
    quantile = stats.t.ppf((1 + level) / 2, df=len(values) - 1)
    return float(quantile * deviation(values) / np.sqrt(len(values)))
