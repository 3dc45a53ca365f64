"""aa_ray.report.comparisons: weighted sums of differences, and which cells count."""

from typing import Any

import numpy as np
import pytest

from aa_ray.report import comparisons
from aa_ray.report.comparisons import AA_LINE, BASELINE_LINE, Part, contrast
from aa_ray.report.learned import State
from aa_ray.report.results import Line, Results
from tests.report.test_claims import at_chance, results

SWITCH_ONLY = Line("", "switch-only")


def world(**changes: Any) -> Results:
    return results(
        lambda method: {"aa": 0.05, "switch-only": 0.02}.get(method, 0.0), 0.001, **changes
    )


def test_a_contrast_is_a_weighted_sum_of_differences() -> None:
    found = world()
    parts = [Part(found, (AA_LINE, BASELINE_LINE), 0.5), Part(found, (SWITCH_ONLY, AA_LINE), -2.0)]
    shown = contrast(parts, ["100"])
    assert shown.effect.mean == pytest.approx(0.5 * 5 - 2 * -3, abs=0.5)
    assert shown.cells == 2 and shown.effect.pairs == 10
    assert {len(states) for states in shown.states.values()} == {4}


def test_seeds_and_cells_are_those_that_all_parts_have() -> None:
    one, other = world(), world(seeds=(42, 92), tasks=("sst2",))
    pair = AA_LINE, BASELINE_LINE
    shown = contrast([Part(one, pair), Part(other, pair, -1.0)], ["100"])
    assert list(shown.strata) == [("sst2", "100")] and shown.cells == 1
    assert len(shown.strata["sst2", "100"].values) == 2
    assert shown.effect.mean == pytest.approx(0, abs=0.5)


def test_a_cell_counts_where_any_line_of_any_part_has_learned() -> None:
    learned, unlearned = world(), world(change=at_chance("sst2", "cola"))
    pair = AA_LINE, BASELINE_LINE
    both = contrast([Part(learned, pair), Part(unlearned, pair, -1.0)], ["100"])
    assert len(both.informative) == 2 and both.known and both.enough
    none = contrast([Part(unlearned, pair), Part(unlearned, pair, -1.0)], ["100"])
    assert not none.informative and not none.enough and len(none.counted) == 2


def test_without_knowledge_all_cells_count() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        row |= {"chance": None, "data_source": "files-0"}

    shown = comparisons.evidence(world(change=change), AA_LINE, BASELINE_LINE, ["100"])
    assert not shown.known and shown.enough and len(shown.informative) == 2
    assert set(shown.states["sst2", "100"]) == {State.UNKNOWN}


def test_a_trial_is_not_compared_with_itself() -> None:
    # AA selects the last of five layers for QQP, so -uni and -sim are the same trials.
    uni, sim = Line("", "aa-focused-uni"), Line("", "aa-focused-sim")
    shown = comparisons.evidence(world(), uni, sim, ["100"])
    assert shown.strata == {} and shown.cells == 2
    assert comparisons.evidence(world(), uni, AA_LINE, ["100"]).effect.pairs == 10


@pytest.mark.parametrize(
    ("informative", "cells", "enough"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, 9, True)]
)
def test_how_many_cells_are_enough(informative: int, cells: int, enough: bool) -> None:
    assert comparisons.enough_cells(informative, cells) is enough
