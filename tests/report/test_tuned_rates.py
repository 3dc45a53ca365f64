"""The rates that tuning gave each method, in captions and as a table."""

from aa_ray.report import paper_tables, tuned_rates
from aa_ray.report.results import Results
from aa_ray.study.grid import Cell
from tests import rows
from tests.study.test_tuning import run, tuned_study


def test_captions_and_table_say_what_was_tried_and_what_was_close() -> None:
    study = tuned_study(methods=("baseline", "aa"), tasks=("sst2",), seeds=(1, 2))
    _, trials = run(study)
    # Baseline's largest setting is its best one; for AA two are best.
    best = {"baseline": {5}, "aa": {1, 2}}
    made = [
        rows.row(
            trial.id,
            **{k: v for k, v in trial.columns.items() if k != "trial_id"},
            method=cell.method,
            dev_metric=0.9 if cell.step in best[cell.method] else 0.7,
            selected_layers=[0] if cell.method == "aa" else None,
            data_fingerprint=f"{cell.task} {cell.regime} {cell.seed}",
            test_metric=0.5,
            test_metrics={"accuracy": 0.5},
            adapter_layers=[0],
        )
        for cell, trial in trials.items()
    ]
    results = Results(study, made)
    text = tuned_rates.rates_text(results)
    assert "6 settings each (0.0001 0.0003 0.001 0.003 0.01 0.03), seeds 9001 9002 9003" in text
    assert text.endswith("of 2 choices, 1 tied and 1 at the edge of the range")
    [section] = tuned_rates.table("Rates", results).sections
    assert [[entry.text for entry in entries] for _, entries in section.lines] == [
        ["0.03| (90.0)"], ["0.0003= (90.0)"]
    ]  # fmt: skip
    assert text in paper_tables.method_table("Controls", results).caption
    assert Cell("baseline", "sst2", "100", 1) in study.cells
