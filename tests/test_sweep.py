"""aa_ray.sweep: how the searcher talks to Tune. tests/test_table2.py runs whole sweeps."""

import json
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from aa_ray.errors import UsageError
from aa_ray.progress import Progress
from aa_ray.results import Store
from aa_ray.study import Agenda, Cell
from aa_ray.sweep import AgendaSearcher, _check_that_somebody_listens
from aa_ray.trial import Trial
from tests.test_study import make_study


@pytest.fixture
def agenda() -> Agenda:
    return Agenda(make_study(tasks=("qqp",), seeds=(42,), methods=("aa", "aa-focused-spec")), [])


@pytest.fixture
def searcher(agenda: Agenda, tmp_path: Path) -> AgendaSearcher:
    return AgendaSearcher(agenda, Store(str(tmp_path)), Progress(agenda, 1))


def report(trial: Trial, **values: object) -> dict[str, str]:
    return {"row": json.dumps({"trial_id": trial.id, "status": "finished", **values})}


def suggested(searcher: AgendaSearcher, tune_id: str) -> tuple[Trial, str]:
    suggestion = searcher.suggest(tune_id)
    assert isinstance(suggestion, dict)
    job = json.loads(suggestion["job"])
    return Trial.from_json(job["trial"]), job["method"]


def test_trials_are_handed_out_as_their_dependencies_finish(
    searcher: AgendaSearcher, agenda: Agenda
) -> None:
    trial, method = suggested(searcher, "t1")
    assert method == "aa" and trial.switched
    assert searcher.suggest("t2") is None  # the focused trial waits for it
    searcher.on_trial_complete("t1", report(trial, selected_layers=[0, 3]))
    focused, method = suggested(searcher, "t3")
    assert method == "aa-focused-spec" and focused.layers == (0, 3)
    assert searcher.suggest("t4") is None  # it still runs
    searcher.on_trial_complete("t3", report(focused, selected_layers=None))
    assert searcher.suggest("t5") == Searcher.FINISHED
    assert agenda.complete


def test_a_trial_whose_process_died_gets_a_row_and_its_dependents_are_lost(
    searcher: AgendaSearcher, agenda: Agenda, tmp_path: Path
) -> None:
    trial, _ = suggested(searcher, "t1")
    searcher.on_trial_complete("t1", None, error=True)
    [row] = Store(str(tmp_path)).read().to_pylist()
    assert (row["trial_id"], row["status"], row["method"]) == (trial.id, "failed", "aa")
    assert "died 3 times" in row["error"] and Trial.from_json(row["settings"]) == trial
    assert searcher.suggest("t2") == Searcher.FINISHED
    assert [cell for cell, _ in agenda.failures()] == [Cell("aa", "qqp", "100", 42)]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1", "host:port"])
def test_an_address_is_checked_at_once(address: str) -> None:
    with pytest.raises(UsageError, match=f"--address {address}: no Ray cluster answers"):
        _check_that_somebody_listens(address)
