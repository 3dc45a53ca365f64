"""aa_ray.report.results: which rows belong to a study."""

import json
from typing import Any

import pytest

from aa_ray.core.architectures import SPEC, N
from aa_ray.errors import UsageError
from aa_ray.report.results import Line, Results, inference_depth
from aa_ray.study.grid import Cell, Study
from tests.report.test_paper_tables import SELECTED, made_up
from tests.study.test_grid import make_study


@pytest.fixture
def study() -> Study:
    return make_study()


def test_different_examples_are_never_averaged(study: Study) -> None:
    rows = made_up(study)
    rows[-1]["data_fingerprint"] = "other"
    with pytest.raises(UsageError, match="used different examples"):
        Results(study, rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("backbone_sha256", "others", r"rows differ in backbone_sha256 \(weights and others\)"),
        ("settings", {"epochs": 3}, r"rows differ in epochs \(20 and 3\)"),
        ("settings", {"learning_rate": 1.0}, r"rows differ in learning_rate \(0.0001 and 1.0\)"),
    ],
)
def test_different_settings_or_weights_are_never_averaged(
    study: Study, column: str, value: Any, message: str
) -> None:
    rows = made_up(study)
    if column == "settings":
        value = json.dumps(json.loads(rows[-1]["settings"]) | value)
    rows[-1][column] = value
    with pytest.raises(UsageError, match=message):
        Results(study, rows)


def test_what_the_study_does_not_ask_for_is_left_out(study: Study) -> None:
    rows = made_up(study)
    others = [row | {"trial_id": "another"} for row in rows]
    failed = [row | {"status": "failed", "data_fingerprint": "other"} for row in rows[:1]]
    assert Results(study, [*rows, *others, *failed]).used == Results(study, rows).used


def test_a_line_finds_its_row_in_each_cell(study: Study) -> None:
    rows = made_up(study)
    results = Results(study, rows)
    for line in results.lines():
        row = results.row(line, "cola", "100", 92)
        assert row is not None and (row["task"], row["regime"], row["seed"]) == ("cola", "100", 92)
        if line.depth == SPEC:
            assert len(row["adapter_layers"]) == len(SELECTED["cola"])
        if line.depth == N:
            assert len(row["adapter_layers"]) == len(SELECTED["qqp"]) == results.uni_size()
    assert results.row(Line("", "baseline"), "cola", "100", 7) is None  # not a seed of the study


def test_of_some_methods_only_their_rows_are_used(study: Study) -> None:
    rows = made_up(study)
    part = Results(study, rows).only(["aa", "baseline", "unknown"])
    assert part.study.methods == ("aa", "baseline")  # in the requested order
    assert {row["method"] for row in part.used} == {"baseline", "aa"}


def test_the_column_tells_the_inference_depth_and_older_rows_their_layers(study: Study) -> None:
    rows = made_up(study)
    line = Line("", "adapter-drop", SPEC)
    expected = Results(study, rows).row(line, "cola", "100", 92)
    assert expected is not None and inference_depth(expected) == 3
    # A row may have fewer adapters than its depth, as for a method with few layers.
    for row in rows:
        if row["method"] == "adapter-drop":
            row |= {"inference_depth": len(row["adapter_layers"]), "adapter_layers": [4]}
    found = Results(study, rows).row(line, "cola", "100", 92)
    assert found is not None and found["test_metric"] == expected["test_metric"]
    older: Any = {"inference_depth": None, "adapter_layers": [3, 4]}
    assert inference_depth(older) == 2


def test_rows_are_collected_by_task_and_seed(study: Study) -> None:
    rows = made_up(study, lambda cell: cell == Cell("aa", "cola", "100", 92))
    results = Results(study, rows)
    for line in results.lines():
        collected = results.rows(line, "100")
        assert list(collected) == list(study.tasks)
        for task, by_seed in collected.items():
            for seed in study.seeds:
                assert by_seed.get(seed) == results.row(line, task, "100", seed)
    assert list(results.rows(Line("", "aa"), "100")["cola"]) == [42]


def test_an_effect_is_paired_over_task_regime_and_seed(study: Study) -> None:
    rows = made_up(study, lambda cell: cell == Cell("aa", "cola", "100", 92))
    effect = Results(study, rows).effect(Line("", "aa"), Line("", "baseline"), ["100"])
    assert effect.pairs == 2  # CoLA waits for its second seed
    assert effect.mean == pytest.approx(5.0)  # see ``score`` in test_paper_tables.py
    assert Results(study, rows).effect(Line("", "aa"), Line("", "baseline"), []).pairs == 0


def test_counts_and_failures(study: Study) -> None:
    assert Results(study, []).counts() == {"missing": len(study.cells)}
    rows = made_up(study)
    complete = Results(study, rows).counts()
    assert complete == {"finished": len({row["trial_id"] for row in rows}), "missing": 0}
    first = rows[0] | {"status": "failed", "error": "NaN"}  # the row of aa on QQP
    results = Results(
        study, [first, *(row for row in rows if row["trial_id"] != first["trial_id"])]
    )
    cell = Cell("aa", "qqp", "100", 42)
    assert results.failures() == [(cell, "NaN")] and results.status(cell) == "failed"
    waiting = [c for c in study.cells if cell in study.needs(c)]
    assert results.counts()["failed"] == 1 and results.counts()["missing"] == len(waiting)
    assert results.status(waiting[0]) is None
    again = Results(study, [*rows, first])  # a retry succeeded
    assert again.counts() == complete and again.uni_size() == 1


def test_a_trial_is_that_of_the_queue(study: Study) -> None:
    results = Results(study, made_up(study))
    for line in results.lines():
        trial = results.trial(line, "cola", "100", 92)
        row = results.row(line, "cola", "100", 92)
        assert trial is not None and row is not None and trial.id == row["trial_id"]
    assert Results(study, []).trial(Line("", "aa-focused-sim"), "cola", "100", 92) is None
