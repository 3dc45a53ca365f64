"""aa_ray.sweep.actor: an actor starts quickly, and no trial with rows runs again.

tests/test_table2.py runs actors in whole sweeps.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aa_ray.errors import ChangedInputError, StorageError
from aa_ray.store.rows import Store
from aa_ray.store.schema import FINISHED, Row, failed, make_row
from aa_ray.store.storage import Folder
from aa_ray.sweep import tune
from aa_ray.sweep.actor import TrialActor
from aa_ray.sweep.messages import Job, Report
from aa_ray.training import checkpoints
from aa_ray.trial import Trial


def test_an_actor_starts_without_torch() -> None:
    actor = tune.tune.with_resources(TrialActor, {"cpu": 1, "gpu": 0})
    start = (
        "import sys; from ray import cloudpickle\n"
        "actor = cloudpickle.load(sys.stdin.buffer)\n"
        "actor = actor.__new__(actor)\n"
        "actor.reset_config({'setting': '{}', 'job': '{\"trials\": []}'})\n"
        "print(*(m for m in ('torch', 'transformers', 'aa_ray') if m in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", start],
        input=tune.ray.cloudpickle.dumps(actor), capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, b"\n"), ran.stderr.decode()


class FakeWorker:
    """Records what it is told to run; its rows differ from run to run."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.ran: list[list[str]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def run(self, trials: Sequence[Trial], methods: Sequence[str]) -> list[list[Row]]:
        self.ran.append(list(methods))
        self.remarks = [f"run {len(self.ran)}"]
        self.meanwhile()
        return [
            [row_of(trial, method, len(self.ran))]
            for trial, method in zip(trials, methods, strict=True)
        ]


def row_of(trial: Trial, method: str, run: int) -> Row:
    return make_row(trial.columns, FINISHED, {"method": method, "test_seconds": float(run)})


class Process:
    """An actor's process, which runs a Tune trial for each job that it gets."""

    def __init__(self, folder: Path, worker: FakeWorker) -> None:
        self.actor = TrialActor.__new__(TrialActor)
        self.setting = json.dumps({"results": str(folder), "stall_seconds": 60.0, "gpus": 0.0})
        self.actor.setup({"setting": self.setting, "job": ""})
        self.actor.make_worker = lambda setting, store: worker  # type: ignore

    def report(self, job: Job) -> Report:
        self.actor.reset_config({"setting": self.setting, "job": job.to_json()})
        result = self.actor.step()
        assert result["done"]
        report = Report.from_result(result)
        assert report is not None
        return report


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def process(tmp_path: Path, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # an actor sets it in its own process
    return Process(tmp_path, worker)


def test_a_job_writes_rows_and_reports_what_the_queue_needs(
    process: Process, worker: FakeWorker, tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    trials = [make_trial(seed=1), make_trial(seed=2)]
    folder = Folder(str(tmp_path))
    folder.write(checkpoints.path(trials), b"not needed any more")
    # The first trial only trains alongside.
    report = process.report(Job(trials, {trials[1].id: "aa"}))
    assert worker.ran == [["", "aa"]]
    assert Store(folder).trial_ids() == {trials[1].id}
    [row] = report.rows
    assert (row["trial_id"], row["method"], row["status"]) == (trials[1].id, "aa", "finished")
    assert "settings" not in row and report.remarks == ["run 1"]
    assert folder.names("checkpoints") == []


def test_a_finished_trial_is_not_run_again(
    process: Process, worker: FakeWorker, tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    """The process was lost before it could report, and Tune gives the job to another one."""
    trial = make_trial()
    job = Job([trial], {trial.id: "aa"})
    first = process.report(job)
    [before] = Store(str(tmp_path)).rows(trial.id)
    other = Process(tmp_path, worker)
    assert other.report(job) == Report(first.rows, [])
    assert len(worker.ran) == 1
    assert Store(str(tmp_path)).rows(trial.id) == [before]


def test_a_failed_trial_is_run_again_only_where_the_job_says_so(
    process: Process, worker: FakeWorker, tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial()
    Store(str(tmp_path)).write([make_row(trial.columns, failed("NaN"))])
    methods = {trial.id: "aa"}
    for retried in ({}, {trial.id: "another failure"}):
        [row] = process.report(Job([trial], methods, retried)).rows
        assert (row["status"], row["error"]) == ("failed", "NaN")
    assert worker.ran == []
    [row] = process.report(Job([trial], methods, {trial.id: "NaN"})).rows
    assert (row["status"], row["error"]) == ("finished", None)
    assert Store(str(tmp_path)).trial_ids() == {trial.id} and worker.ran == [["aa"]]


def test_of_trials_side_by_side_only_missing_rows_are_written(
    process: Process, worker: FakeWorker, tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    """All trials train together as before.

    A smaller group would draw different dropout masks.
    """
    trials = [make_trial(seed=seed) for seed in (1, 2)]
    finished = row_of(trials[0], "aa", 0)
    store = Store(str(tmp_path))
    store.write([finished])
    report = process.report(Job(trials, {trial.id: "aa" for trial in trials}))
    assert worker.ran == [["aa", "aa"]]
    assert [row["test_seconds"] for row in report.rows] == [0.0, 1.0]
    assert store.rows(trials[0].id) == [finished]


def test_who_finishes_second_reports_the_rows_of_the_first(
    process: Process, worker: FakeWorker, tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    """One process was only cut off; the other one took over its job."""
    trial = make_trial()
    theirs = row_of(trial, "aa", 7)
    worker.meanwhile = lambda: Store(str(tmp_path)).write([theirs])
    [row] = process.report(Job([trial], {trial.id: "aa"})).rows
    assert row["test_seconds"] == 7.0 and Store(str(tmp_path)).rows(trial.id) == [theirs]


@pytest.mark.parametrize("error", [StorageError("disk full"), ChangedInputError("other data")])
def test_what_stops_the_sweep_is_reported(
    process: Process, worker: FakeWorker, make_trial: Callable[..., Trial], error: Exception
) -> None:
    def fail() -> Any:
        raise error

    worker.meanwhile = fail
    trial = make_trial()
    report = process.report(Job([trial], {trial.id: "aa"}))
    assert report == Report([], [], str(error))
