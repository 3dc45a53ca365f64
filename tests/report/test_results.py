"""aa_ray.report.results: which rows are a study's."""

import json
from typing import Any

import pytest

from aa_ray.core.architectures import SPEC, UNI
from aa_ray.errors import UsageError
from aa_ray.report.results import Line, Results
from aa_ray.study.grid import Study
from tests.report.test_paper_tables import SELECTED, made_up
from tests.study.test_grid import make_study


@pytest.fixture
def study() -> Study:
    return make_study()


def test_different_examples_are_never_averaged(study: Study) -> None:
    rows = made_up(study)
    rows[-1]["data_fingerprint"] = "other"
    with pytest.raises(UsageError, match="rest on different examples"):
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
        if line.depth == UNI:
            assert len(row["adapter_layers"]) == len(SELECTED["qqp"]) == results.uni_size()
    assert results.row(Line("", "baseline"), "cola", "100", 7) is None  # no seed of the study


def test_of_some_methods_only_their_rows_are_used(study: Study) -> None:
    rows = made_up(study)
    part = Results(study, rows).only(["aa", "baseline", "unknown"])
    assert part.study.methods == ("aa", "baseline")  # in the order asked for
    assert {row["method"] for row in part.used} == {"baseline", "aa"}
