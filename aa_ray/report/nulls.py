"""Null models: random selections, and activations with shuffled labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1_999
# Two distances that differ by less than this are equal up to rounding.
ROUNDING = 1e-9


class NullTest(NamedTuple):
    """An observed statistic and its distribution under a null model.

    Attributes:
        observed: the statistic.
        mean, deviation: mean and standard deviation of the null distribution.
        below, above: one-sided p values: how often the null model gives a value as small or large.
    """

    observed: float
    mean: float
    deviation: float
    below: float
    above: float


def compare(observed: float, drawn: np.ndarray) -> NullTest:
    """Compare the observed statistic with draws [n]; it counts as one of the draws itself."""
    count = 1 + len(drawn)
    return NullTest(
        observed,
        float(drawn.mean()),
        float(drawn.std()),
        (1 + int((drawn <= observed + ROUNDING).sum())) / count,
        (1 + int((drawn >= observed - ROUNDING).sum())) / count,
    )


def jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - |intersection| / |union| of sets as booleans [..., layers]; 0 for two empty sets."""
    union = (a | b).sum(axis=-1)
    common = (a & b).sum(axis=-1)
    return 1 - np.divide(common, union, out=np.ones(np.shape(union)), where=union > 0)


def mean_distance(sets: np.ndarray) -> np.ndarray:
    """Mean Jaccard distance over the pairs of sets [..., sets, layers]."""
    i, j = np.triu_indices(sets.shape[-2], k=1)
    return jaccard(sets[..., i, :], sets[..., j, :]).mean(axis=-1)


def random_sets_test(groups: Sequence[np.ndarray], draws: int = DRAWS) -> NullTest | None:
    """Are the sets of a group more alike than random sets of the same sizes?

    Args:
        groups: the sets of each group, as booleans [sets, layers]. The statistic is the mean
            Jaccard distance within a group, averaged over groups.

    Returns:
        The test; ``below`` is the p value of "no more alike than random ones". None without a pair
        of sets.
    """
    paired = [sets for sets in groups if len(sets) > 1]
    if not paired:
        return None
    rng = np.random.default_rng(0)
    observed = float(np.mean([mean_distance(sets) for sets in paired]))
    return compare(observed, np.mean([_random_distances(g, draws, rng) for g in paired], axis=0))


def _random_distances(sets: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean distances [draws] of random sets with the same sizes as ``sets``."""
    order = rng.random((draws, *sets.shape)).argsort(axis=-1)  # [draws, sets, layers]
    return mean_distance(order < sets.sum(axis=-1)[:, None])


def layer_counts(sizes: Sequence[int], num_layers: int) -> np.ndarray:
    """Distribution of the number of random sets that hold a given layer, [len(sizes) + 1].

    A random set of a given size holds any one layer with probability size / num_layers. For equal
    sizes the distribution is binomial; otherwise it is narrower than the binomial with the same
    mean.
    """
    probabilities = np.ones(1)
    for size in sizes:
        share = size / num_layers
        probabilities = np.convolve(probabilities, [1 - share, share])
    return probabilities


def central(probabilities: np.ndarray, level: float = 0.95) -> tuple[int, int]:
    """The smallest range of counts with at most (1 - level) / 2 below and above it."""
    tail = (1 - level) / 2 + ROUNDING
    below, above = np.cumsum(probabilities), np.cumsum(probabilities[::-1])
    return int((below <= tail).sum()), len(probabilities) - 1 - int((above <= tail).sum())


Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def root_mean_square(weights: np.ndarray) -> Distance:
    """Distance between functions [..., points], with weights [points] that sum to 1."""
    return lambda a, b: np.sqrt((weights * (a - b) ** 2).sum(axis=-1))


def label_test(
    strata: Sequence[tuple[np.ndarray, Distance]], draws: int = DRAWS
) -> NullTest | None:
    """Do labels matter: are things with the same label more alike across blocks than others?

    The labels are shuffled within each block (for example, tasks within a seed), so that the common
    part of a block does not look like an effect of the labels.

    Args:
        strata: each is (things [blocks, labels, ...], their distance). The statistic is the mean
            distance of different labels minus that of the same label, between things of different
            blocks, averaged over strata. Strata with fewer than two blocks or labels are left out.

    Returns:
        The test; ``above`` is the p value of "labels do not matter". None if no stratum is left.
    """
    kept = [(things, d) for things, d in strata if min(things.shape[:2]) > 1]
    if not kept:
        return None
    rng = np.random.default_rng(0)
    statistics = [_label_statistics(_distances(*stratum), draws, rng) for stratum in kept]
    together = np.mean(statistics, axis=0)  # [1 + draws], the observed one first
    return compare(float(together[0]), together[1:])


def _distances(things: np.ndarray, distance: Distance) -> np.ndarray:
    """[blocks, labels, blocks, labels] distances between all things."""
    return distance(things[:, :, None, None], things[None, None])


def _label_statistics(distances: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The observed statistic, then those with shuffled labels: [1 + draws]."""
    blocks, labels = distances.shape[:2]
    shuffled = rng.random((draws, blocks, labels)).argsort(axis=-1)
    order = np.concatenate([np.arange(labels) * np.ones((1, blocks, 1), int), shuffled])
    first, second = np.triu_indices(blocks, k=1)
    same = np.zeros(1 + draws)
    for i, j in zip(first, second, strict=True):
        same += distances[i, order[:, i], j, order[:, j]].mean(axis=-1) / len(first)
    overall = np.mean([distances[i, :, j, :].mean() for i, j in zip(first, second, strict=True)])
    # One pair in ``labels`` has the same label, so the overall mean gives that of the others.
    different = (labels * overall - same) / (labels - 1)
    return different - same
