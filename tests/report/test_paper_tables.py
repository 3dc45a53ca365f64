"""aa_ray.report.paper_tables: Table 2 from synthetic rows with a known result."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import METHODS, SPEC, MethodLine, N
from aa_ray.data.glue import ROWS, Source
from aa_ray.report import paper_tables
from aa_ray.report.learned import State
from aa_ray.report.results import Results
from aa_ray.report.tables import Entry, Table
from aa_ray.study.grid import Cell, Study
from aa_ray.study.queue import TrialQueue
from tests.study.test_grid import make_study


def table2(study: Study, rows: list[Any]) -> Table:
    return paper_tables.method_table("Table 2", Results(study, rows))


SELECTED = {"qqp": [4], "sst2": [1, 3], "cola": [0, 1, 2], "mrpc": [2], "rte": [0, 3]}
COLUMNS = ["MNLI", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE", "WNLI", "Avg"]


def score(cell: Cell, depth: int) -> float:
    """Return a score that tells method, task, seed and depth apart."""
    bonus = {"baseline": 0.0, "aa": 0.05}.get(cell.method, 0.02)
    return 0.5 + bonus + (0.1 if cell.task == "cola" else 0) + cell.seed / 1000 + depth / 10000


def made_up(study: Study, skip: Any = lambda cell: False) -> list[Any]:
    """Return rows as from a sweep, except for skipped cells."""
    queue = TrialQueue(study, [])
    rows: list[Any] = []
    while (following := queue.next()) is not None:
        cell, trial = following
        layers = range(5)
        kept = [list(layers)[5 - d :] for d in trial.inference_depths or ()] or [list(trial.layers)]
        of_trial = [
            {
                "trial_id": trial.id, "status": "finished", "method": cell.method,
                "task": cell.task, "regime": cell.regime, "seed": cell.seed,
                "test_metric": score(cell, len(kept_) if trial.inference_depths else 0),
                "adapter_layers": kept_,
                "selected_layers": SELECTED[cell.task] if trial.switched else None,
                "data_fingerprint": f"{cell.task} {cell.regime} {cell.seed}",
                "data_source": "embedded-1", "commit": "0123456789abcdef", "dirty": False,
                "settings": trial.to_json(), "backbone_sha256": "weights",
                "chance": 0.2, "chance_error": 0.01, "answers": 2,
            }
            for kept_ in kept
        ]  # fmt: skip
        queue.record(of_trial[0])
        if not skip(cell):
            rows += of_trial
    return rows


def entries(table: Table, regime: str, label: str) -> dict[str, Entry]:
    [section] = [s for s in table.sections if s.heading == regime]
    [found] = [line for name, line in section.lines if name == label]
    return dict(zip(table.columns, found, strict=True))


@pytest.fixture
def study() -> Study:
    return make_study()


def test_layout_is_the_papers(study: Study) -> None:
    table = table2(study, made_up(study))
    assert table.columns == COLUMNS
    [section] = table.sections
    assert section.heading == "Low-data-100"
    assert [label for label, _ in section.lines] == [
        "Baseline", "AdapterDrop^AA", "AdapterDrop^1", "AA", "AA-focused^spec", "AA-focused^uni",
        "AA-focused^sim", "|AdapterDrop^AA|", "|AdapterDrop^1|", "|AA|", "|AA-focused^spec|",
        "|AA-focused^uni|", "|AA-focused^sim|",
    ]  # fmt: skip


def test_scores_are_mean_and_deviation_over_seeds(study: Study) -> None:
    table = table2(study, made_up(study))
    cell = entries(table, "Low-data-100", "Baseline")["CoLA"]
    values = [100 * score(Cell("baseline", "cola", "100", seed), 0) for seed in (42, 92)]
    assert cell.mean == pytest.approx(np.mean(values))
    assert cell.deviation == pytest.approx(np.std(values, ddof=1))
    assert cell.text == "66.7±3.5" and cell.seeds == 2
    assert entries(table, "Low-data-100", "Baseline")["MNLI"].text == "–"


def test_average_is_taken_seed_by_seed(study: Study) -> None:
    average = entries(table2(study, made_up(study)), "Low-data-100", "Baseline")["Avg"]
    per_seed = [np.mean([100 * score(Cell("baseline", t, "100", s), 0) for t in ("sst2", "cola")])
                for s in (42, 92)]  # fmt: skip
    assert average.mean == pytest.approx(np.mean(per_seed))
    assert average.deviation == pytest.approx(np.std(per_seed, ddof=1))


def test_adapter_drop_is_read_at_each_depth(study: Study) -> None:
    table = table2(study, made_up(study))
    for label, depth in (("AdapterDrop^AA", 3), ("AdapterDrop^1", 1)):
        values = [100 * score(Cell("adapter-drop", "cola", "100", s), depth) for s in (42, 92)]
        assert entries(table, "Low-data-100", label)["CoLA"].mean == pytest.approx(np.mean(values))
        assert entries(table, "Low-data-100", f"|{label}|")["CoLA"].text == str(depth)


def test_layer_counts(study: Study) -> None:
    table = table2(study, made_up(study))
    assert entries(table, "Low-data-100", "|AA|")["CoLA"].text == "3"
    assert entries(table, "Low-data-100", "|AA-focused^spec|")["SST-2"].text == "2"
    assert entries(table, "Low-data-100", "|AA-focused^spec|")["Avg"].text == "2.5"
    assert entries(table, "Low-data-100", "|AA-focused^uni|")["CoLA"].text == "1"


def test_best_is_marked_among_scores_only(study: Study) -> None:
    [section] = table2(study, made_up(study)).sections
    best = {label for label, line in section.lines for entry in line if entry.best}
    assert best == {"AA"}


def test_missing_seeds_are_counted(study: Study) -> None:
    def skip(cell: Cell) -> bool:
        return cell.seed == 92 and cell.method == "baseline" and cell.task == "cola"

    table = table2(study, made_up(study, skip))
    line = entries(table, "Low-data-100", "Baseline")
    assert line["CoLA"].text == "64.2 (1/2)" and line["SST-2"].text == "56.7±3.5"
    assert line["Avg"].text == "59.2 (1/2)"  # from the only seed that has both tasks


def test_a_study_without_rows_is_all_dashes(study: Study) -> None:
    table = table2(study, [])
    [section] = table.sections
    assert {entry.text for _, line in section.lines for entry in line} == {"–"}
    assert "AdapterDrop^N" in [label for label, _ in section.lines]
    assert "none yet" in table.caption


def test_a_shared_trial_fills_every_line_that_means_it() -> None:
    study = make_study(tasks=("qqp",), seeds=(42,))
    table = table2(study, made_up(study))
    lines = [
        entries(table, "Low-data-100", f"AA-focused^{kind}") for kind in ("spec", "uni", "sim")
    ]
    assert len({line["QQP"].text for line in lines}) == 1 and lines[0]["QQP"].text != "–"


def test_caption_says_what_the_numbers_rest_on(study: Study) -> None:
    caption = table2(study, made_up(study)).caption
    for part in ("toy (5 layers)", "embedded-1", "seeds 42, 92", "0.0001 (adapters)", "0123456789"):
        assert part in caption
    faster = dataclasses.replace(study, precision="bf16")
    assert "(switches); bf16; commit" in table2(faster, []).caption


def test_a_method_says_how_it_is_listed_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drop = METHODS["adapter-drop"]
    lines = (MethodLine("Dropped^all", SPEC), MethodLine("Dropped^N", N))
    mine = dataclasses.replace(drop, name="mine", depths=lines, counts_layers=False)
    monkeypatch.setitem(METHODS, "mine", mine)
    study = make_study(methods=("baseline", "mine"))
    table = table2(study, made_up(study))
    [section] = table.sections
    assert [label for label, _ in section.lines] == ["Baseline", "Dropped^all", "Dropped^1"]
    for label, depth in (("Dropped^all", 3), ("Dropped^1", 1)):
        values = [100 * score(Cell("mine", "cola", "100", s), depth) for s in (42, 92)]
        assert entries(table, "Low-data-100", label)["CoLA"].mean == pytest.approx(np.mean(values))


def with_states(study: Study, states: dict[tuple[str, str], State]) -> Table:
    """Return Table 2 in which some (method, task) have these states; all others have learned."""
    rows = made_up(study)
    for row in rows:
        state = states.get((row["method"], row["task"]), State.LEARNED)
        row["answers"] = 1 if state is State.ONE_CLASS else 2
        if state is not State.LEARNED:
            row["chance"] = row["test_metric"]
    return table2(study, rows)


def test_cells_that_have_not_been_learned_are_marked(study: Study) -> None:
    states = {("aa", "cola"): State.CHANCE, ("baseline", "sst2"): State.ONE_CLASS}
    table = with_states(study, states)
    aa, baseline = (entries(table, "Low-data-100", label) for label in ("AA", "Baseline"))
    assert aa["CoLA"].text.endswith("†") and aa["CoLA"].state == "chance"
    assert baseline["SST-2"].text.endswith("‡") and baseline["SST-2"].state == "one class"
    assert aa["SST-2"].text[-1].isdigit() and aa["SST-2"].state == "learned"
    assert "† not above chance" in table.caption and "‡ one class" in table.caption
    assert ",0,one class\n" in table.render("csv")


def test_nothing_is_best_where_nothing_is_learned(study: Study) -> None:
    methods = study.methods
    table = with_states(study, {(method, "cola"): State.CHANCE for method in methods})
    [section] = table.sections
    for label, line in section.lines:
        by_column = dict(zip(table.columns, line, strict=True))
        assert not by_column["CoLA"].best
        if not label.startswith("|"):  # the average over learned tasks is SST-2's
            assert by_column["Avg learned"].mean == by_column["SST-2"].mean
            assert by_column["Avg learned"].best == by_column["SST-2"].best == (label == "AA")
    nowhere = {(method, task): State.CHANCE for method in methods for task in study.tasks}
    [section] = with_states(study, nowhere).sections
    assert not any(entry.best for _, line in section.lines for entry in line)
    assert {line[-1].text for _, line in section.lines} == {"–"}


def test_rows_that_cannot_tell_print_as_before() -> None:
    study = make_study(source=Source(ROWS))
    rows = made_up(study)
    known = table2(study, rows)
    for row in rows:
        row |= dict.fromkeys(("chance", "chance_error", "answers"))
    assert table2(study, rows).render("text") == known.render("text")
    assert "†" not in known.caption and known.columns == COLUMNS
