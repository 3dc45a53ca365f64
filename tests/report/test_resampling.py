"""aa_ray.report.resampling: P(A > B), cells ahead, leaving tasks out, and resampling tasks."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from aa_ray.report import resampling
from aa_ray.report.statistics import Stratum
from benchmarks import simulated_studies as simulation


def test_improvement_counts_ties_half() -> None:
    strata = {"a": Stratum((1.0, -1.0, 0.0)), "b": Stratum((2.0,))}
    found = resampling.improvement(strata)
    assert found is not None and found.value == 2.5 / 4
    assert (found.low, found.high) == pytest.approx(proportion_confint(2.5, 4, method="wilson"))
    assert resampling.improvement({}) is None


@pytest.mark.parametrize("seeds", [3, 20])
@pytest.mark.parametrize("wins", [[0.5] * 4, [0.9] * 4, [0.2, 0.5, 0.8, 0.95]])
def test_the_interval_of_improvement_covers_it(wins: list[float], seeds: int) -> None:
    count = 300
    covered, _ = simulation.improvement_coverage(wins, seeds, count, np.random.default_rng(0))
    assert covered >= 0.93 - 4 * (0.95 * 0.05 / count) ** 0.5


def test_cells_ahead_is_bonferronis_partial_conjunction() -> None:
    assert resampling.cells_ahead([0.001, 0.001, 0.5]) == 2
    assert resampling.cells_ahead([0.02, 0.02, 0.02]) == 0  # 3 x 0.02 is above 5 %
    assert resampling.cells_ahead([0.016, 0.024, 0.049]) == 3
    assert resampling.cells_ahead([0.016, 0.03, 0.049]) == 1  # stops at the first step that fails
    assert resampling.cells_ahead([0.01, float("nan")]) == 1 and resampling.cells_ahead([]) == 0


def test_too_many_cells_are_rarely_named() -> None:
    count = 200
    wrong = simulation.conjunction_error(5, count, np.random.default_rng(0))
    assert wrong <= 0.05 + 4 * (0.05 * 0.95 / count) ** 0.5


def test_leaving_out_each_task() -> None:
    strata = {
        ("sst2", "100"): Stratum((1.0, 3.0)),
        ("sst2", "500"): Stratum((5.0, 7.0)),
        ("cola", "100"): Stratum((10.0, 12.0)),
    }
    found = resampling.without_each(strata)
    assert found["sst2"].mean == 11 and found["cola"].mean == 4 and found["cola"].pairs == 4
    assert resampling.without_each({("sst2", "100"): Stratum((1.0, 3.0))}) == {}


def test_tasks_at_random_vary_as_means_over_tasks_do() -> None:
    # Seeds hardly spread, so the spread is that of a bootstrap of the tasks' means.
    rng = np.random.default_rng(0)
    means = dict(zip("abcdefgh", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], strict=True))
    strata = {(task, "100"): Stratum(tuple(mean + rng.normal(0, 1e-3, 4)))
              for task, mean in means.items()}  # fmt: skip
    found = resampling.hierarchical(strata)
    assert found is not None
    expected = stats.bootstrap((list(means.values()),), np.mean, method="percentile", rng=rng)
    low, high = expected.confidence_interval
    assert found == pytest.approx((low, high), abs=0.2)


def test_seeds_are_resampled_too() -> None:
    spread = {(task, "100"): Stratum((-5.0, 0.0, 5.0)) for task in "abcd"}
    found = resampling.hierarchical(spread)
    assert found is not None and found[0] < -2 and found[1] > 2
    assert resampling.hierarchical({("a", "100"): Stratum((1.0, 2.0))}) is None
