"""Null models: what selections and activations would look like if nothing decided them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 1_999
# Two distances that differ by less are the same, but for rounding.
ROUNDING = 1e-9


class NullTest(NamedTuple):
    """An observed statistic beside its distribution under a null model.

    Attributes:
        observed: the statistic.
        mean, deviation: of the null distribution.
        below, above: one-sided p values: how often the null model gives a value as small, as large.
    """

    observed: float
    mean: float
    deviation: float
    below: float
    above: float


def compare(observed: float, drawn: np.ndarray) -> NullTest:
    """The observed statistic among those drawn [n]; it counts as one of the draws itself."""
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
        groups: each the sets of one group as booleans [sets, layers]. The statistic is the mean
            Jaccard distance within a group, averaged over groups.

    Returns:
        ``below`` is the p value of "no more alike than random ones". None without a pair of sets.
    """
    paired = [sets for sets in groups if len(sets) > 1]
    if not paired:
        return None
    rng = np.random.default_rng(0)
    observed = float(np.mean([mean_distance(sets) for sets in paired]))
    return compare(observed, np.mean([_random_distances(g, draws, rng) for g in paired], axis=0))


def _random_distances(sets: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean distances [draws] of sets drawn at random, each of the size of one of ``sets``."""
    order = rng.random((draws, *sets.shape)).argsort(axis=-1)  # [draws, sets, layers]
    return mean_distance(order < sets.sum(axis=-1)[:, None])


def layer_counts(sizes: Sequence[int], num_layers: int) -> np.ndarray:
    """How many of several random sets hold a certain layer: probabilities [len(sizes) + 1].

    Each set is drawn at random among those of its size, so it holds any one layer with probability
    size / num_layers. For equal sizes that is a binomial distribution; for others it is narrower
    than the binomial one with the same mean.
    """
    probabilities = np.ones(1)
    for size in sizes:
        share = size / num_layers
        probabilities = np.convolve(probabilities, [1 - share, share])
    return probabilities


def central(probabilities: np.ndarray, level: float = 0.95) -> tuple[int, int]:
    """The smallest range of counts with at most (1 - level) / 2 below it, and as little above."""
    tail = (1 - level) / 2 + ROUNDING
    below, above = np.cumsum(probabilities), np.cumsum(probabilities[::-1])
    return int((below <= tail).sum()), len(probabilities) - 1 - int((above <= tail).sum())


Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def root_mean_square(weights: np.ndarray) -> Distance:
    """Distance between functions [..., points], whose points weigh [points] (they sum to 1)."""
    return lambda a, b: np.sqrt((weights * (a - b) ** 2).sum(axis=-1))


def label_test(
    strata: Sequence[tuple[np.ndarray, Distance]], draws: int = DRAWS
) -> NullTest | None:
    """Do labels decide: are things of one label more alike, over blocks, than of two labels?

    The labels are shuffled within each block (say, tasks within a seed), so that what a block has
    in common is not mistaken for an effect of the labels.

    Args:
        strata: each (things [blocks, labels, ...], their distance). The statistic is the mean
            distance of different labels minus that of the same label, between things of different
            blocks, averaged over strata. Strata with fewer than two blocks or labels are left out.

    Returns:
        ``above`` is the p value of "labels decide nothing". None where no stratum is left.
    """
    kept = [(things, d) for things, d in strata if min(things.shape[:2]) > 1]
    if not kept:
        return None
    rng = np.random.default_rng(0)
    statistics = [_label_statistics(_distances(*stratum), draws, rng) for stratum in kept]
    together = np.mean(statistics, axis=0)  # [1 + draws], the first as observed
    return compare(float(together[0]), together[1:])


def _distances(things: np.ndarray, distance: Distance) -> np.ndarray:
    """[blocks, labels, blocks, labels] distances between all things."""
    return distance(things[:, :, None, None], things[None, None])


def _label_statistics(distances: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The statistic as observed, then with the labels shuffled: [1 + draws]."""
    blocks, labels = distances.shape[:2]
    shuffled = rng.random((draws, blocks, labels)).argsort(axis=-1)
    order = np.concatenate([np.arange(labels) * np.ones((1, blocks, 1), int), shuffled])
    first, second = np.triu_indices(blocks, k=1)
    same = np.zeros(1 + draws)
    for i, j in zip(first, second, strict=True):
        same += distances[i, order[:, i], j, order[:, j]].mean(axis=-1) / len(first)
    overall = np.mean([distances[i, :, j, :].mean() for i, j in zip(first, second, strict=True)])
    # Of all pairs, one in ``labels`` is of the same label; so the overall mean gives the others'.
    different = (labels * overall - same) / (labels - 1)
    return different - same
