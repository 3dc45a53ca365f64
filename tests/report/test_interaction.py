"""aa_ray.report.interaction: whether an advantage depends on the policy."""

from typing import Any

import numpy as np
import pytest

from aa_ray.errors import UsageError
from aa_ray.report import interaction
from aa_ray.report.interaction import DEPENDS, INDEPENDENT
from aa_ray.report.results import Results
from aa_ray.report.verdicts import OPEN, UNINFORMATIVE
from tests.report.test_claims import results


def policy(gain: float, seed: int, noise: float = 0.002, **changes: Any) -> Results:
    """Return a study in which ``aa`` gains this much over all others; the seed sets its noise."""

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        key = [seed, row["seed"], *row["method"].encode(), *row["task"].encode()]
        row["test_metric"] += np.random.default_rng(key).normal(0, noise)

    settings: dict[str, Any] = {"change": change} | changes
    return results(lambda method: gain if method == "aa" else 0.0, 0.0, **settings)


def verdict(one: Results, other: Results, **options: Any) -> dict[str, str]:
    [section] = interaction.table({"released": one, "tuned": other}, **options).sections
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


def test_a_comparison_that_nothing_was_learned_for_is_uninformative() -> None:
    def nothing(row: dict[str, Any], rng: np.random.Generator) -> None:
        row["chance"] = 0.9

    world = policy(0.0, 2, change=nothing)
    assert set(verdict(world, world).values()) == {UNINFORMATIVE}


def test_the_numbers_are_those_of_the_policies() -> None:
    one, other = policy(0.05, 1), policy(0.02, 2, seeds=(42, 92))
    table = interaction.table({"released": one, "0.001": other})
    assert table.columns[:3] == ["released", "0.001", "difference"]
    entries = dict(table.sections[0].lines)["C1 AA is on par with Baseline"]
    first, second, difference = (entry.mean or 0 for entry in entries[:3])
    assert (first, second, difference) == pytest.approx((5, 2, 3), abs=0.5)
    assert entries[5].text == "2 of 2"


@pytest.mark.parametrize("names", [["released"], ["a", "b", "c"]])
def test_there_are_two_policies(names: list[str]) -> None:
    with pytest.raises(UsageError, match="compares other rates with the released ones"):
        interaction.table(dict.fromkeys(names, policy(0.05, 1)))
