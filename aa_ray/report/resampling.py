"""Other summaries of the differences: share of wins, number of cells, and resampling.

Two packages were tried and are not used. For the probability of improvement, ``rliable`` (which
needs arch < 8) bootstraps unpaired runs, but the differences here are paired by seed. Bootstrap
intervals of that probability, from arch or SciPy, cover 25 to 96 % instead of 95 % with 3 to 10
seeds; Wilson's interval covers 91 to 100 % (``benchmarks/verdicts.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aa_ray.report.statistics import Effect, Stratum, stratified_effect
from aa_ray.report.verdicts import ALPHA

RESAMPLES = 2_000


class Proportion(NamedTuple):
    """A proportion with its 95 % interval."""

    value: float
    low: float
    high: float


def proportion(count: float, of: int) -> Proportion:
    """``count`` of ``of`` (not 0) as a proportion, with Wilson's interval."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, of, ALPHA, method="wilson")
    return Proportion(count / of, float(low), float(high))


def improvement(strata: Mapping[Any, Stratum]) -> Proportion | None:
    """P(A > B): the share of pairs in which the first line is better; a tie counts half.

    See Bouthillier et al. (2021). It has Wilson's interval over all pairs. Since cells differ, the
    variance is smaller than the binomial one, so the interval is conservative. None without pairs.
    """
    values = np.array([value for stratum in strata.values() for value in stratum.values])
    if not len(values):
        return None
    return proportion(float((values > 0).sum() + (values == 0).sum() / 2), len(values))


def cells_ahead(p_values: Sequence[float], alpha: float = ALPHA) -> int:
    """Lower bound for the number of cells in which a claim holds, with confidence 1 - alpha.

    Partial conjunction (Benjamini and Heller 2008; Dror et al. 2017, "k-Bonferroni"): the largest u
    for which (K - u + 1) p_(u) is at most alpha, also for all smaller u. It is valid for dependent
    cells, such as those that share seeds. NaN means that a cell was not tested.
    """
    ordered = np.sort([p for p in p_values if not np.isnan(p)])
    combined = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))
    return int((combined <= alpha).sum())


def without_each(
    strata: Mapping[tuple[str, str], Stratum],
) -> dict[str, Effect]:
    """Task -> the effect over the cells of all other tasks; empty for a single task."""
    tasks = list(dict.fromkeys(task for task, _ in strata))
    return {
        left_out: stratified_effect(
            {key: stratum for key, stratum in strata.items() if key[0] != left_out}
        )
        for left_out in tasks
        if len(tasks) > 1
    }


def hierarchical(
    strata: Mapping[tuple[str, str], Stratum], level: float = 0.95
) -> tuple[float, float] | None:
    """Percentile interval of the mean effect if tasks are also drawn at random.

    This is a check, not a test. Tasks are resampled with their regimes, then seeds within each
    cell. With five tasks and three seeds it is too narrow. None without a second task or seed.
    """
    by_task: dict[str, list[np.ndarray]] = {}
    for (task, _), stratum in strata.items():
        if len(stratum.values) > 1:
            by_task.setdefault(task, []).append(np.array(stratum.values))
    if len(by_task) < 2:
        return None
    rng = np.random.default_rng(0)
    means = np.array([_task_means(cells, rng) for cells in by_task.values()])  # [tasks, resamples]
    weights = np.array([len(cells) for cells in by_task.values()])
    drawn = rng.integers(len(means), size=(len(means), RESAMPLES))
    inner = means[drawn, rng.integers(RESAMPLES, size=drawn.shape)]  # independent if drawn twice
    averages = np.average(inner, axis=0, weights=weights[drawn])
    low, high = np.quantile(averages, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _task_means(cells: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Mean over a task's cells with resampled seeds, [resamples]."""
    resampled = [rng.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in cells]
    return np.mean(resampled, axis=0)
