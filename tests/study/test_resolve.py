"""aa_ray.study.resolve: from cells and rows to trials."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.core.architectures import ALL_TABLES
from aa_ray.study.grid import Cell, Study, Variant
from aa_ray.study.resolve import Resolver, Unresolved, resolve, stand_in_text
from tests.study.test_grid import make_study

AA_COLA, AA_QQP = Cell("aa", "cola", "100", 42), Cell("aa", "qqp", "100", 42)
SPEC, UNI = (Cell(f"aa-focused-{kind}", "cola", "100", 92) for kind in ("spec", "uni"))
DROP = Cell("adapter-drop", "cola", "100", 92)


def finished(trial_id: str, layers: list[int]) -> dict[str, Any]:
    return {"trial_id": trial_id, "status": "finished", "error": None, "selected_layers": layers}


def failed(trial_id: str) -> dict[str, Any]:
    return {"trial_id": trial_id, "status": "failed", "error": "NaN", "selected_layers": None}


def test_a_cell_waits_for_all_that_it_needs() -> None:
    study = make_study(tasks=("cola",))
    rows = {AA_COLA: finished("1", [1, 3]), AA_QQP: finished("2", [4])}
    assert resolve(study, AA_COLA, lambda cell: None) == study.trial(AA_COLA, [])
    assert resolve(study, DROP, {AA_COLA: rows[AA_COLA]}.get) is Unresolved.WAITING
    trial = resolve(study, DROP, rows.get)
    assert not isinstance(trial, Unresolved) and trial.inference_depths == (1, 2)
    assert resolve(study, DROP, {AA_QQP: failed("2")}.get) is Unresolved.LOST


def test_a_row_resolves_the_cells_that_wait_for_it_alone() -> None:
    resolver = Resolver(make_study(tasks=("cola",)))
    assert resolver.trials.keys() == {c for c in resolver.study.cells if c not in resolver.waiting}
    assert {SPEC, UNI, DROP} <= resolver.waiting.keys() and AA_QQP in resolver.trials
    resolved = resolver.add(finished(resolver.trials[AA_QQP].id, [4]))
    assert {cell.method for cell in resolved} == {"aa-focused-uni", "aa-focused-sim"}
    assert resolver.trials[UNI].layers == (4,)
    assert resolver.add(finished(resolver.trials[AA_QQP].id, [4])) == []  # already known
    resolved = resolver.add(finished(resolver.trials[AA_COLA].id, [1, 3]))
    assert {cell.method for cell in resolved} == {"aa-focused-spec", "adapter-drop"}
    assert not resolver.waiting and not resolver.lost


def test_what_needs_a_failed_trial_is_lost_until_the_failure_is_forgotten() -> None:
    resolver = Resolver(make_study(tasks=("cola",)))
    row = failed(resolver.trials[AA_QQP].id)
    assert resolver.add(row) == []
    assert {cell.method for cell in resolver.lost} == {
        "adapter-drop", "aa-focused-uni", "aa-focused-sim",
    }  # fmt: skip
    assert resolver.failures() == [(AA_QQP, "NaN")]
    assert resolver.forget_failures() == [row]
    assert not resolver.lost and UNI in resolver.waiting and resolver.row(AA_QQP) is None
    resolver.add(finished(row["trial_id"], [0]))
    assert resolver.trials[UNI].layers == (0,)


def test_rows_of_other_studies_change_nothing() -> None:
    study = make_study(tasks=("cola",))
    other = Resolver(study, [finished("another", [1]), failed("one more")])
    assert (other.trials, other.waiting) == (Resolver(study).trials, Resolver(study).waiting)
    assert other.failures() == []


VARIANTS = (Variant(""), Variant("B", (("denominator", "B"),)), Variant("skip"))


@pytest.mark.parametrize("select_per_variant", [True, False])
def test_no_cell_comes_before_what_it_needs(select_per_variant: bool) -> None:
    """``Resolver`` relies on this, because it goes through the cells once."""
    study = make_study(
        methods=ALL_TABLES, variants=VARIANTS, select_per_variant=select_per_variant, seeds=(7, 42)
    )
    place = {cell: k for k, cell in enumerate(study.cells)}
    for cell in study.cells:
        for need in study.needs(cell):
            assert place[need] < place[cell] and not study.needs(need)


def rows_of(study: Study, draw: random.Random) -> list[dict[str, Any]]:
    """Return a row for most trials; one in ten has failed."""
    resolver = Resolver(study)
    rows = []
    while new := sorted(resolver.cells.keys() - resolver.rows.keys()):
        for trial_id in new:
            layers = draw.sample(range(5), draw.randrange(6))
            row = finished(trial_id, sorted(layers)) if draw.random() < 0.9 else failed(trial_id)
            resolver.add(row)
            rows.append(row)
    return [row for row in rows if draw.random() < 0.8]


@given(st.integers(0, 10**6))
def test_rows_one_by_one_in_any_order_give_what_all_at_once_give(seed: int) -> None:
    draw = random.Random(seed)
    study = make_study(methods=ALL_TABLES, variants=VARIANTS[: draw.randint(1, 3)])
    rows = rows_of(study, draw)
    at_once, one_by_one = Resolver(study, rows), Resolver(study)
    draw.shuffle(rows)
    resolved = list(one_by_one.trials)
    for row in rows:
        resolved += one_by_one.add(row)
    assert len(resolved) == len(set(resolved)) and set(resolved) == set(at_once.trials)
    assert one_by_one.trials == at_once.trials
    assert one_by_one.waiting == at_once.waiting and one_by_one.lost == at_once.lost
    assert {i: set(cells) for i, cells in one_by_one.cells.items()} == {
        i: set(cells) for i, cells in at_once.cells.items()
    }
    assert len(study.cells) == len(resolved) + len(at_once.waiting) + len(at_once.lost)


def test_it_is_said_which_aa_trials_decide_nothing() -> None:
    study = make_study(methods=("aa-focused-spec", "baseline"), tasks=("sst2", "cola"))
    chance = {"dev_chance": 0.5, "dev_chance_error": 0.05, "status": "finished", "error": None}
    resolver = Resolver(study)
    for task, score in (("sst2", 0.9), ("cola", 0.55)):
        cell = Cell("aa", task, "100", 42)
        trial_id = resolver.trials[cell].id
        resolver.add(chance | {"trial_id": trial_id, "selected_layers": [1], "dev_metric": score})
    assert resolver.stand_ins(study.grid()) == [Cell("aa", "cola", "100", 42)]
    assert resolver.trials[Cell("aa-focused-spec", "sst2", "100", 92)].layers == (1,)
    assert resolver.trials[Cell("aa-focused-spec", "cola", "100", 92)].layers == (2, 3, 4)
    text = stand_in_text(resolver.stand_ins(study.grid()), 5)
    assert text.startswith("AA is at chance on its development set (cola 100)")
    assert text.endswith("the last 3 of 5 layers are used instead.") and stand_in_text([], 5) == ""
