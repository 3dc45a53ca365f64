"""aa_ray.report.nulls: null models where they are right and where they are wrong, and exactly."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jaccard as scipy_jaccard

from aa_ray.report import nulls
from benchmarks import simulated_studies as simulation


def sets(*members: set[int], layers: int = 6) -> np.ndarray:
    return np.array([[n in of for n in range(layers)] for of in members])


def test_jaccard_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 6)) < 0.5
    expected = [scipy_jaccard(x, y) for x, y in zip(a, b, strict=True)]
    assert nulls.jaccard(a, b) == pytest.approx(np.array(expected))
    assert nulls.jaccard(np.zeros(3, bool), np.zeros(3, bool)) == 0


def test_the_mean_distance_is_over_all_pairs() -> None:
    found = nulls.mean_distance(sets({0, 1}, {1, 2}, {3}))
    assert found == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_random_sets_are_all_equally_likely() -> None:
    # Sets of 2 and of 3 of 4 layers: enumerate all pairs to get the mean distance.
    pairs = itertools.product(
        itertools.combinations(range(4), 2), itertools.combinations(range(4), 3)
    )
    distances = [1 - len({*a} & {*b}) / len({*a} | {*b}) for a, b in pairs]
    test = nulls.random_sets_test([sets({0, 1}, {0, 1, 2}, layers=4)])
    assert test is not None
    assert test.mean == pytest.approx(np.mean(distances), abs=4 * test.deviation / 1999**0.5)
    assert test.observed == pytest.approx(1 / 3)
    assert test.below == pytest.approx(np.mean(np.isclose(distances, 1 / 3)), abs=0.05)


def test_equal_sets_are_more_alike_than_random_ones() -> None:
    test = nulls.random_sets_test([sets({1, 3}, {1, 3}, {1, 3})] * 4)
    assert test is not None and test.observed == 0 and test.below == 1 / 2000 and test.above == 1
    assert nulls.random_sets_test([sets({1})]) is None and nulls.random_sets_test([]) is None


def test_all_layers_cannot_be_more_alike() -> None:
    test = nulls.random_sets_test([sets({0, 1}, {0, 1}, layers=2)])
    assert test is not None and test.below == test.above == 1


def test_labels_that_decide_all() -> None:
    things = np.array([[[task] for task in range(4)] for _ in range(3)], dtype=float)
    test = nulls.label_test([(things, nulls.root_mean_square(np.ones(1)))])
    assert test is not None
    # Different tasks differ by |i - j| over the 6 pairs of four tasks; equal tasks by 0.
    assert test.observed == pytest.approx(np.mean([1, 2, 3, 1, 2, 1]))
    # The second and third seed have 24 x 24 orders; one agrees with the first seed's.
    assert test.above == pytest.approx(1 / 576, abs=0.003) and abs(test.mean) < 0.1


def test_what_a_block_has_in_common_is_no_label() -> None:
    things = np.array([[[10.0 * seed]] * 4 for seed in range(3)])
    test = nulls.label_test([(things, nulls.root_mean_square(np.ones(1)))])
    assert test is not None and test.observed == pytest.approx(0) and test.above == 1


def test_a_permutation_test_can_say_no_more_than_there_are_permutations() -> None:
    # Two seeds and two tasks can be relabelled in two ways.
    things = np.array([[[0.0], [1.0]], [[0.0], [1.0]]])
    test = nulls.label_test([(things, nulls.root_mean_square(np.ones(1)))])
    assert test is not None and test.above == pytest.approx(0.5, abs=0.05)


def test_too_little_for_labels() -> None:
    one_block, one_label = np.zeros((1, 4, 2)), np.zeros((4, 1, 2))
    distance = nulls.root_mean_square(np.full(2, 0.5))
    assert nulls.label_test([(one_block, distance), (one_label, distance)]) is None


def test_weights_are_those_of_the_points() -> None:
    distance = nulls.root_mean_square(np.array([0.25, 0.75, 0.0]))
    assert distance(np.array([2.0, 0.0, 9.0]), np.zeros(3)) == pytest.approx(1.0)


def test_null_models_are_rejected_as_often_as_they_should_where_they_are_right() -> None:
    count = 300
    for rejected in simulation.null_rejections(count, np.random.default_rng(0)):
        assert rejected <= 0.05 + 4 * (0.05 * 0.95 / count) ** 0.5


@pytest.mark.parametrize(("sets", "size"), [(3, 2), (20, 3), (20, 1), (5, 5), (4, 0)])
def test_counts_of_a_layer_are_binomial_for_sets_of_one_size(sets: int, size: int) -> None:
    counts = nulls.layer_counts([size] * sets, 5)
    np.testing.assert_allclose(counts, stats.binom.pmf(range(sets + 1), sets, size / 5), atol=1e-12)
    low, high = nulls.central(counts)
    assert counts[:low].sum() <= 0.025 + 1e-8 and counts[high + 1 :].sum() <= 0.025 + 1e-8
    assert counts[: low + 1].sum() > 0.025 and counts[high:].sum() > 0.025  # no narrower


def test_counts_of_a_layer_for_sets_of_any_size_are_those_of_drawn_sets() -> None:
    sizes, num_layers = [1, 2, 4, 4], 6
    rng = np.random.default_rng(1)
    drawn = [sum(0 in rng.permutation(num_layers)[:size] for size in sizes) for _ in range(20_000)]
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    counts = nulls.layer_counts(sizes, num_layers)
    np.testing.assert_allclose(shares, counts, atol=0.015)
    spread = float((counts * np.arange(5) ** 2).sum() - (counts * np.arange(5)).sum() ** 2)
    share = sum(sizes) / len(sizes) / num_layers
    assert spread < len(sizes) * share * (1 - share)  # less than the binomial's with this mean
