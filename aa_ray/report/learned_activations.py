"""The activations that ``aa`` learns (claim C11), compared with relabelled layers and tasks.

They are compared after the last epoch, so that all have trained equally long, and on the inputs
that the rationals received: differences are weighted by how often inputs occurred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aa_ray.report import nulls
from aa_ray.report.activations import activation
from aa_ray.report.nulls import NullTest
from aa_ray.report.results import Results
from aa_ray.report.selections import complete, learned_rows

if TYPE_CHECKING:
    from aa_ray.store.rows import Row

# Number of points at which activations are compared, from the smallest to the largest input.
POINTS = 101
# The range for rows without recorded inputs, where all points have equal weight.
UNSEEN = (-2.0, 2.0)

Measure = tuple[np.ndarray, np.ndarray]


def between_layers(results: Results) -> NullTest | None:
    """Are a layer's activations more alike over seeds than those of different layers?

    The null model shuffles the layers within each seed. The common part of all layers of one
    training run is subtracted. Distances are root mean squares of R(x).
    """
    strata = []
    for rows in learned_rows(results).values():
        measure = seen(rows.values())
        curves = np.array([_curves(row, measure[0]) for row in rows.values()])
        if curves.ndim == 3:  # [seeds, layers, points]
            strata.append((_centered(curves), nulls.root_mean_square(measure[1])))
    return nulls.label_test(strata)


def between_tasks(results: Results) -> NullTest | None:
    """Are a layer's activations more alike over the seeds of a task than over tasks?

    The null model shuffles the tasks within each regime and seed; otherwise as ``between_layers``.
    """
    strata = []
    for regime in results.study.regimes:
        units = complete(results, regime)
        measure = seen(row for rows in units for row in rows)
        curves = np.array([[_curves(row, measure[0]) for row in rows] for rows in units])
        if curves.ndim == 4:  # [seeds, tasks, layers, points]
            strata.append((_centered(curves), _mean_over_layers(measure[1])))
    return nulls.label_test(strata)


def _mean_over_layers(weights: np.ndarray) -> nulls.Distance:
    distance = nulls.root_mean_square(weights)
    return lambda a, b: distance(a, b).mean(axis=-1)


def _centered(curves: np.ndarray) -> np.ndarray:
    """The curves [blocks, labels, ...] without their mean over labels in each block."""
    return curves - curves.mean(axis=1, keepdims=True)


def seen(rows: Iterable[Row]) -> Measure:
    """Points [n], and the share of the rows' inputs at each point [n]."""
    histograms = [
        (histogram["low"], histogram["high"], np.array(histogram["counts"], dtype=float))
        for row in rows
        for histogram in row["input_histograms"] or ()
        if histogram is not None
    ]
    if not histograms:
        return np.linspace(*UNSEEN, POINTS), np.full(POINTS, 1 / POINTS)
    x = np.linspace(min(h[0] for h in histograms), max(h[1] for h in histograms), POINTS)
    weights = np.zeros(POINTS)
    for low, high, counts in histograms:
        edges = np.linspace(low, high, len(counts) + 1)
        cumulative = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
        step = (x[1] - x[0]) / 2
        weights += np.diff(np.interp([*(x - step), x[-1] + step], edges, cumulative))
    return x, weights / weights.sum()


def _curves(row: Row, x: np.ndarray) -> Sequence[np.ndarray]:
    """The activation of each layer with a rational after the last epoch, [layers][points]."""
    curves = [activation(row, layer, -1, x) for layer in range(row["num_layers"])]
    return [curve for curve in curves if curve is not None]
