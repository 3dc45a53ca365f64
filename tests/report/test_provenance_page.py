"""aa_ray.report.provenance_page: a study's progress, and the origin of its rows."""

from aa_ray.report import provenance_page
from aa_ray.report.provenance_page import Gap
from aa_ray.study.grid import Cell
from tests.report.test_page import make_results


def test_gaps_count_cells() -> None:
    def skip(cell: Cell) -> bool:
        return cell.method == "adapter-drop" and cell.task == "sst2"

    def fail(cell: Cell) -> bool:
        return cell.method == "baseline" and cell.seed == 92

    found = provenance_page.gaps(make_results(skip, fail))
    assert found == [
        Gap("Baseline", "Low-data-100", 4, 2, 2),
        Gap("AdapterDrop", "Low-data-100", 4, 2, 0),
    ]
    assert provenance_page.gaps(make_results()) == []


def test_every_row_is_shown_once_under_all_its_names() -> None:
    results = make_results()
    groups = provenance_page.groups(results)
    assert [group.title for group in groups] == [
        "SST-2, Low-data-100", "CoLA, Low-data-100", "QQP, Low-data-100",
    ]  # fmt: skip
    shown = [(t.row["trial_id"], len(t.row["adapter_layers"])) for g in groups for t in g.runs]
    rows = {(row["trial_id"], len(row["adapter_layers"])) for row in results.used}
    assert len(shown) == len(rows) and set(shown) == rows
    # With one layer, uni (here the last layer) and sim are the same training run.
    names = [training.titles for training in groups[0].runs]
    assert ["AA-focused^uni", "AA-focused^sim"] in names


def test_layers_and_time_of_a_training() -> None:
    group = provenance_page.groups(make_results())[1]
    found = {t.titles[0]: t for t in group.runs if t.row["seed"] == 42}
    assert found["AA"].layers == "0 1 2"  # the selected layers of five
    assert found["Baseline"].layers == "0 1 2 3 4" and found["AA-focused^0"].layers == "none"
    assert found["AA"].time == "10 s" and found["AA"].commit == "0123456789"


def test_a_loss_that_is_not_a_number_is_left_out_of_the_curve() -> None:
    results = make_results()
    training = provenance_page.groups(results)[0].runs[0]
    training.row["curves"] = [{"epoch": 1, "train_loss": float("nan"), "dev_metric": 0.5}]
    group = provenance_page.Group("k", "t", "m", [training])
    assert group.curves[0]["runs"][0]["loss"] == [None]


def test_provenance_counts_trainings() -> None:
    results = make_results()
    rows = provenance_page.distinct(results)
    rows[0]["dirty"] = True
    rows[1] |= {"array": [rows[1]["trial_id"], "another"], "hosts": ["a", "b"]}
    for row in rows[2:]:
        row["host"] = "c"
    facts = dict(provenance_page.provenance(results))
    assert facts["Code"] == ["commit 0123456789+changes (1 training run)",
                             f"commit 0123456789 ({len(rows) - 1} training runs)"]  # fmt: skip
    assert f"c ({len(rows) - 2} training runs)" in facts["Machines"]
    assert "b (1 training run)" in facts["Machines"]
    assert "1 training runs trained side by side, in 1 groups" in facts["Interruptions"]
    assert facts["Settings"][0].startswith("learning_rate = 0.0001, ")
    assert "denominator = A" in facts["Settings"][1]
