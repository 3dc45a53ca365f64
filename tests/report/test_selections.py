"""aa_ray.report.selections and claims C1 and C12: selected layers against random ones."""

from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import SEEDS
from aa_ray.report import selections
from aa_ray.report.results import Results
from aa_ray.report.verdicts import FAILS, HOLDS, OPEN, UNINFORMATIVE
from tests.report.test_claims import LAYERS, as_in_the_paper, judgement, results

TASKS = ("sst2", "cola", "mrpc", "rte", "qqp")


def with_selections(select: Any, **changes: Any) -> Results:
    """Return results in which ``select`` (row, rng) chooses the layers of ``aa``."""

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["selected_layers"] is not None:
            row["selected_layers"] = sorted(int(n) for n in select(row, rng))

    return results(as_in_the_paper, change=change, tasks=TASKS, **changes)


def at_random(row: dict[str, Any], rng: np.random.Generator) -> Any:
    return rng.permutation(LAYERS)[:3]


def by_task(row: dict[str, Any], rng: np.random.Generator) -> Any:
    """Select two layers by the task, and draw one with the seed."""
    first = TASKS.index(row["task"])
    others = [n for n in range(LAYERS) if n not in (first, (first + 1) % LAYERS)]
    return [first, (first + 1) % LAYERS, rng.choice(others)]


def nearly_the_same(row: dict[str, Any], rng: np.random.Generator) -> Any:
    """Select three layers; one of them changes with the seed, and the task has no effect."""
    return [0, 1, rng.choice([2, 3])]


def always_the_same(row: dict[str, Any], rng: np.random.Generator) -> Any:
    return [0, 2, 4]


@pytest.mark.parametrize(
    ("select", "seeds", "tasks"),
    [
        (at_random, UNINFORMATIVE, OPEN),
        (by_task, HOLDS, HOLDS),
        (nearly_the_same, HOLDS, OPEN),
        (always_the_same, FAILS, OPEN),
    ],
)
def test_selections_against_random_sets(select: Any, seeds: str, tasks: str) -> None:
    world = with_selections(select)
    assert judgement(world, "C12", "different seeds").verdict == seeds
    assert judgement(world, "C12", "different tasks").verdict == tasks


def test_that_random_sets_differ_is_no_evidence() -> None:
    effect, test = selections.seeds_distance(with_selections(by_task))
    assert test is not None
    holds, fails = selections.seeds_p_values(effect, test)
    assert holds == max(test.below, effect.above(selections.SAME_SETS)) and fails > 0.99
    at_chance = test._replace(below=0.4)
    assert selections.seeds_p_values(effect, at_chance)[0] == 0.4


def test_the_null_model_is_shown() -> None:
    found = judgement(with_selections(at_random), "C12", "different seeds")
    # Two random sets of 3 of 5 layers share 1, 2 or 3 with probability 3/10, 6/10, 1/10.
    expected = 0.3 * (1 - 1 / 5) + 0.6 * (1 - 2 / 4)
    assert found.null.startswith(f"{expected:+.2f}±")
    assert found.effect.mean == pytest.approx(expected, abs=0.1)


def test_distances_between_tasks_are_those_beyond_seeds() -> None:
    found = selections.tasks_distance(results(as_in_the_paper))
    # SST-2 {1, 3} and CoLA {0, 1, 2} share one layer of four; neither set varies with the seed.
    assert found is not None and found.observed == pytest.approx(0.75)


def test_what_has_not_learned_selects_nothing() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["task"] == "cola":
            row["chance"] = 0.9
            if row["selected_layers"] is not None:
                row["selected_layers"] = []

    world = results(as_in_the_paper, change=change, regimes=("100", "300"))
    assert {task for task, _ in selections.learned_rows(world)} == {"sst2"}
    assert judgement(world, "C1", "layers").effect.mean == 2 / LAYERS
    assert judgement(world, "C1", "layers").learned == (2, 4)
    assert selections.tasks_distance(world) is None  # only one task is left


def test_seeds_that_lack_a_task_are_left_out_between_tasks() -> None:
    world = results(as_in_the_paper)
    assert len(selections.complete(world, "100")) == len(SEEDS)
    rows = [r for r in world.used if not (r["method"] == "aa" and r["task"] == "cola"
                                          and r["seed"] == SEEDS[1])]  # fmt: skip
    partial = selections.complete(Results(world.study, rows), "100")
    assert [row["seed"] for row, _ in partial] == [SEEDS[0], *SEEDS[2:]]
