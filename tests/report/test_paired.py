"""aa_ray.report.paired: differences of runs, with and without runs that take off."""

import numpy as np
import pytest

from aa_ray.report.paired import Run, Runs, stratum


def runs(scores: dict[int, float], threshold: float | None = None) -> Runs:
    return {
        seed: Run(score, None if threshold is None else score > threshold)
        for seed, score in scores.items()
    }


def test_pairs_are_those_of_the_seeds_that_both_have() -> None:
    found = stratum((runs({1: 5.0, 2: 7.0, 3: 9.0}), runs({3: 4.0, 2: 6.0, 4: 0.0})))
    assert found.values == (1.0, 5.0) and found.within == found.values and found.shares == ()
    assert stratum((runs({1: 1.0}), runs({2: 1.0}))).values == ()


def test_runs_that_take_off_are_counted_apart() -> None:
    ours = runs({1: 60.0, 2: 62.0, 3: 5.0}, 30)
    theirs = runs({1: 58.0, 2: 4.0, 3: 6.0}, 30)
    found = stratum((ours, theirs))
    gap = 60 - 5  # the means of runs that took off and of the others
    assert [share[:2] for share in found.shares] == [(2, 3), (1, 3)]
    assert [share.points for share in found.shares] == [gap, -gap]
    # The rest consists of the distances from those means.
    assert found.rest == pytest.approx((0 - -2, 2 - -1, 0 - 1))
    parts = sum(share.estimate for share in found.shares) + np.mean(found.rest)
    assert parts == pytest.approx(np.mean(found.values))


@pytest.mark.parametrize("threshold", [None, 0.0, 100.0])
def test_where_all_runs_are_of_one_kind_there_are_no_shares(threshold: float | None) -> None:
    found = stratum((runs({1: 60.0, 2: 5.0}, threshold), runs({1: 58.0, 2: 4.0}, threshold)))
    assert found.shares == () and found.within == (2.0, 1.0)


def test_a_difference_of_differences() -> None:
    released = runs({1: 60.0, 2: 62.0}), runs({1: 50.0, 2: 51.0})
    tuned = runs({2: 70.0, 1: 71.0}), runs({2: 69.0, 1: 69.0})
    assert stratum(released, tuned).values == (10 - 2, 11 - 1)


def test_a_difference_of_differences_has_the_shares_of_four_lines() -> None:
    released = runs({1: 60.0, 2: 5.0}, 30), runs({1: 5.0, 2: 5.0}, 30)
    tuned = runs({1: 60.0, 2: 60.0}, 30), runs({1: 20.0, 2: 60.0}, 30)
    found = stratum(released, tuned)
    assert [(share.took_off, share.points) for share in found.shares] == [
        (1, 55.0), (0, -55.0), (2, -40.0), (1, 40.0)
    ]  # fmt: skip
    parts = sum(share.estimate for share in found.shares) + np.mean(found.rest)
    assert parts == pytest.approx(np.mean(found.values))
