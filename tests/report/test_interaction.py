"""aa_ray.report.interaction: whether an advantage depends on the policy."""

from typing import Any

import numpy as np
import pytest

from aa_ray.report import interaction
from aa_ray.report.comparisons import AA_LINE, BASELINE_LINE
from aa_ray.report.interaction import DEPENDS, INDEPENDENT
from aa_ray.report.results import Results
from aa_ray.report.verdicts import OPEN
from tests.report.test_claims import results


def policy(gain: float, seed: int, noise: float = 0.002, **changes: Any) -> Results:
    """A study in which ``aa`` gains so much on all others; the seed is that of its noise."""

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        key = [seed, row["seed"], *row["method"].encode(), *row["task"].encode()]
        row["test_metric"] += np.random.default_rng(key).normal(0, noise)

    settings: dict[str, Any] = {"change": change} | changes
    return results(lambda method: gain if method == "aa" else 0.0, 0.0, **settings)


def verdict(one: Results, other: Results, **options: Any) -> dict[str, str]:
    [section] = interaction.table(one, other, ("released", "tuned"), **options).sections
    return {label.split(" ")[0]: entries[-1].text for label, entries in section.lines}


def test_an_advantage_under_one_policy_alone_depends_on_it() -> None:
    found = verdict(policy(0.05, 1), policy(0.0, 2))
    assert found["C1"] == found["C8"] == DEPENDS and found["C9"] == INDEPENDENT


def test_the_same_advantage_does_not_depend_on_it() -> None:
    found = verdict(policy(0.05, 1), policy(0.05, 2))
    assert found["C1"] == INDEPENDENT
    assert verdict(policy(0.05, 1), policy(0.05, 2), margin=0.01)["C1"] == OPEN


def test_noise_leaves_it_open() -> None:
    assert verdict(policy(0.05, 1, noise=0.1), policy(0.0, 2, noise=0.1))["C1"] == OPEN


def test_differences_are_paired_by_seed_in_each_cell() -> None:
    one, other = policy(0.05, 1), policy(0.02, 2, seeds=(42, 92))
    found = interaction.differences(one, other, (AA_LINE, BASELINE_LINE), ["100"])
    assert set(found) == {("sst2", "100"), ("cola", "100")}
    for stratum in found.values():
        assert len(stratum.values) == 2 and np.mean(stratum.values) == pytest.approx(3, abs=1)


def test_a_cell_counts_where_one_policy_learns() -> None:
    def nothing(row: dict[str, Any], rng: np.random.Generator) -> None:
        row["chance"] = 0.9

    lines = AA_LINE, BASELINE_LINE
    learned, unlearned = policy(0.05, 1), policy(0.0, 2, change=nothing)
    assert len(interaction.differences(learned, unlearned, lines, ["100"])) == 2
    assert interaction.differences(unlearned, unlearned, lines, ["100"]) == {}


def test_the_lines_of_the_second_policy_may_be_others() -> None:
    world = policy(0.05, 1)
    swapped = interaction.differences(
        world, world, (AA_LINE, BASELINE_LINE), ["100"], (BASELINE_LINE, AA_LINE)
    )
    for stratum in swapped.values():
        assert np.mean(stratum.values) == pytest.approx(10, abs=1)
