"""aa_ray.report.power: seeds to settle a claim, against SciPy's noncentral t and simulation."""

import numpy as np
import pytest
from scipy import stats

from aa_ray.report import power, verdicts
from aa_ray.report.power import Spread, decided, seeds_to_settle
from aa_ray.report.statistics import Stratum
from benchmarks import simulated_studies as simulation

# Standard error of a share of 0.8 with this number of simulations.
ERROR = (0.8 * 0.2 / power.SIMULATIONS) ** 0.5


def values(mean: float, deviation: float, count: int) -> Stratum:
    """Return values with exactly this mean and sample deviation."""
    ramp = np.arange(count) - (count - 1) / 2
    return Stratum(tuple(mean + deviation * ramp / ramp.std(ddof=1)))


@pytest.mark.parametrize("seeds", [3, 8, 20, 60])
def test_power_of_one_cell_is_that_of_the_t_test(seeds: int) -> None:
    # With a margin this low, "does not hold" never occurs, which leaves a two-sided t test.
    rule = verdicts.better(margin=-100.0)
    noncentrality = 2.0 / 5.0 * seeds**0.5
    critical = stats.t.ppf(0.975, seeds - 1)
    expected = stats.nct.sf(critical, seeds - 1, noncentrality)
    found = decided([[Spread(2.0, 5.0)]], rule, seeds)
    assert found == pytest.approx(expected, abs=4 * ERROR)


def test_both_exits_count() -> None:
    # An advantage of 0 is never reported, but that it lies below the margin is.
    needed = seeds_to_settle([[values(0.0, 5.0, 3)]], verdicts.better())
    assert needed is not None and 30 < needed < 60
    spreads = [[Spread(0.0, 5.0)]]
    assert decided(spreads, verdicts.better(), needed) >= 0.8
    assert decided(spreads, verdicts.better(), needed - 5) < 0.8


@pytest.mark.parametrize("mean", [0.0, 1.0, 2.5, 4.0, 30.0])
@pytest.mark.parametrize("count", [3, 12])
def test_never_fewer_than_there_are(mean: float, count: int) -> None:
    for make_rule in (verdicts.better, verdicts.on_par, verdicts.considerably_better):
        needed = seeds_to_settle([[values(mean, 5.0, count)]], make_rule())
        assert needed is not None and needed > count


def test_more_tests_and_more_spread_need_more_seeds() -> None:
    def needed(deviation: float, tests: int) -> int:
        groups = [[values(3.0, deviation, 3)]]
        return seeds_to_settle(groups, verdicts.better(), tests) or 0

    assert needed(5.0, 1) < needed(5.0, 10) < needed(10.0, 10)


def test_what_cannot_be_known_and_what_nobody_can_run() -> None:
    assert seeds_to_settle([], verdicts.better()) is None
    assert seeds_to_settle([[Stratum((1.0,))]], verdicts.better()) is None
    at_the_margin = [[values(verdicts.MARGIN, 5.0, 3)]]
    assert seeds_to_settle(at_the_margin, verdicts.on_par()) == power.MOST_SEEDS + 1
    assert seeds_to_settle([[values(3.0, 0.0, 3)]], verdicts.better()) == 4


def test_each_task_of_a_claim_has_to_be_settled() -> None:
    sure, unsure = [values(9.0, 3.0, 3)], [values(3.0, 5.0, 3)]
    rule = verdicts.better(margin=-100.0)
    both, alone = (seeds_to_settle(groups, rule) for groups in ([sure, unsure], [unsure]))
    assert alone is not None and both is not None and abs(both - alone) <= 2
    assert seeds_to_settle([sure], rule) < both  # type: ignore[operator]


def test_studies_of_that_size_are_settled_as_often_as_said() -> None:
    count = 400
    rng = np.random.default_rng(0)
    cells = [simulation.Normal(3.0, 2.0), simulation.Normal(5.7, 3.0)]
    seeds, share = simulation.predicted_power(verdicts.better(), cells, count, rng)
    at_least = decided([[Spread(2.0, 3.0), Spread(3.0, 5.7)]], verdicts.better(), seeds)
    assert share == pytest.approx(at_least, abs=4 * (0.8 * 0.2 / count) ** 0.5)
