"""The layers that ``aa`` selects (claims C1 and C12), against random sets of the same sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from aa_ray.report import nulls
from aa_ray.report.comparisons import AA_LINE, Key
from aa_ray.report.learned import State
from aa_ray.report.nulls import NullTest
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect, stratified_effect
from aa_ray.report.verdicts import within

if TYPE_CHECKING:
    from aa_ray.store.rows import Row

# The paper's AA uses 13 to 15 of BERT-large's 24 layers on average.
SHARE_OF_LAYERS = within(
    13 / 24, 15 / 24, "90 % interval within 54 to 62.5 %; does not hold if the 95 % interval lies "
    "outside",
)  # fmt: skip

# Two selections up to this Jaccard distance count as the same.
SAME_SETS = 0.1


def cells(results: Results) -> dict[Key, State]:
    """(Task, regime) -> what ``aa`` has learned there, if it has rows."""
    return {
        (task, regime): results.state(AA_LINE, task, regime)
        for regime in results.study.regimes
        for task, by_seed in results.rows(AA_LINE, regime).items()
        if by_seed
    }


def known(states: Mapping[Key, State]) -> bool:
    """Whether rows and data show, for all cells, what has been learned."""
    return State.UNKNOWN not in states.values()


def learned_rows(results: Results) -> dict[Key, dict[int, Row]]:
    """(Task, regime) -> seed -> row of ``aa``, if it has learned there, or this is not known.

    If a model has learned nothing, its switches mean nothing.
    """
    return {
        (task, regime): results.rows(AA_LINE, regime)[task]
        for (task, regime), state in cells(results).items()
        if state.informative
    }


def share_of_layers(results: Results) -> Effect:
    """C1: the share of its layers that ``aa`` selects, averaged over cells."""
    return stratified_effect(
        {
            key: [len(row["selected_layers"] or ()) / row["num_layers"] for row in rows.values()]
            for key, rows in learned_rows(results).items()
        }
    )


def seeds_distance(results: Results) -> tuple[Effect, NullTest | None]:
    """C12: Jaccard distance between the sets of two seeds, as an effect over cells.

    The null model draws random sets of the same sizes.
    """
    groups = {key: _sets(list(rows.values())) for key, rows in learned_rows(results).items()}
    pairs = {key: sets for key, sets in groups.items() if len(sets) > 1}
    effect = stratified_effect({k: [float(nulls.mean_distance(s))] for k, s in pairs.items()})
    return effect, nulls.random_sets_test(list(pairs.values()))


def seeds_p_values(effect: Effect, test: NullTest | None) -> tuple[float, float]:
    """p values of "differs between seeds, though not at random" and of "is always the same"."""
    if test is None:
        return float("nan"), float("nan")
    return max(test.below, effect.above(SAME_SETS)), effect.below(SAME_SETS)


def tasks_distance(results: Results) -> NullTest | None:
    """C12: Jaccard distance between the sets of two tasks, minus that between two seeds of a task.

    The null model shuffles the tasks within each regime and seed.
    """
    strata = []
    for regime in results.study.regimes:
        units = complete(results, regime)
        if units:
            things = np.array([_sets(rows) for rows in units])  # [seeds, tasks, layers]
            strata.append((things, nulls.jaccard))
    return nulls.label_test(strata)


def complete(results: Results, regime: str) -> list[list[Row]]:
    """Rows of ``aa`` for the learned tasks, [seeds][tasks], for seeds that have all of them."""
    by_task = [rows for (_, r), rows in learned_rows(results).items() if r == regime]
    seeds = [s for s in results.study.seeds_of(regime) if all(s in rows for rows in by_task)]
    return [[rows[seed] for rows in by_task] for seed in seeds] if by_task else []


def _sets(rows: list[Row]) -> np.ndarray:
    """The selected layers of each row as booleans [rows, layers]."""
    return np.array(
        [[n in (row["selected_layers"] or ()) for n in range(row["num_layers"])] for row in rows]
    )
