"""aa_ray.sweep.searcher: its exchange with Tune. tests/test_table2.py runs whole sweeps."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from aa_ray.errors import SweepError
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.storage import Folder
from aa_ray.study.grid import Cell
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import searcher as searcher_module
from aa_ray.sweep.messages import Job, Report
from aa_ray.sweep.progress import Progress
from aa_ray.sweep.searcher import QueueSearcher
from aa_ray.training import checkpoints
from aa_ray.training.loop import State
from aa_ray.trial import Trial
from tests.rows import row
from tests.study.test_grid import make_study


@pytest.fixture
def queue() -> TrialQueue:
    return TrialQueue(
        make_study(tasks=("qqp",), seeds=(42,), methods=("aa", "aa-focused-spec")), []
    )


def driver(queue: TrialQueue, folder: Path, leases: Leases, fuse: int = 1) -> QueueSearcher:
    return QueueSearcher(queue, Store(str(folder)), leases, Progress(queue, 1), fuse)


@pytest.fixture
def searcher(queue: TrialQueue, tmp_path: Path) -> Iterator[QueueSearcher]:
    with Leases(Folder(str(tmp_path))) as leases:
        yield driver(queue, tmp_path, leases)


def report(trial: Trial, **values: object) -> dict[str, Any]:
    return Report([{"trial_id": trial.id, "status": "finished", **values}]).to_result()


def job_of(searcher: QueueSearcher, tune_id: str) -> Job:
    suggestion = searcher.suggest(tune_id)
    assert isinstance(suggestion, dict)
    return Job.from_json(suggestion["job"])


def suggested(searcher: QueueSearcher, tune_id: str) -> tuple[Trial, str]:
    job = job_of(searcher, tune_id)
    [trial], [method] = job.trials, job.methods.values()
    return trial, method


def test_trials_are_handed_out_as_their_dependencies_finish(
    searcher: QueueSearcher, queue: TrialQueue
) -> None:
    trial, method = suggested(searcher, "t1")
    assert method == "aa" and trial.switched
    assert searcher.suggest("t2") is None  # the focused trial waits for AA
    searcher.on_trial_complete("t1", report(trial, selected_layers=[0, 3]))
    focused, method = suggested(searcher, "t3")
    assert method == "aa-focused-spec" and focused.layers == (0, 3)
    assert searcher.suggest("t4") is None  # the focused trial still runs
    searcher.on_trial_complete("t3", report(focused, selected_layers=None))
    assert searcher.suggest("t5") == Searcher.FINISHED
    assert queue.complete


def test_a_process_that_died_after_its_rows_were_written_changes_nothing(
    queue: TrialQueue, tmp_path: Path
) -> None:
    with Leases(Folder(str(tmp_path))) as leases:
        searcher = driver(queue, tmp_path, leases)
        trial, _ = suggested(searcher, "1")
        store = Store(str(tmp_path))
        store.write([row(trial.id, selected_layers=[1])])
        searcher.on_trial_death("1", "killed")
        searcher.on_trial_complete("1", None, error=True)
    assert store.rows(trial.id) == [row(trial.id, selected_layers=[1])]
    assert queue.counts() == {"finished": 1, "runnable": 1}


def test_a_trial_whose_process_died_gets_a_row_and_its_dependents_are_lost(
    searcher: QueueSearcher, queue: TrialQueue, tmp_path: Path
) -> None:
    trial, _ = suggested(searcher, "t1")
    searcher.on_trial_death("t1", "ray.exceptions.ActorDiedError: ... killed: out of Memory")
    searcher.on_trial_complete("t1", None, error=True)
    [dead] = Store(str(tmp_path)).read().to_pylist()
    assert (dead["trial_id"], dead["status"], dead["method"]) == (trial.id, "failed", "aa")
    assert "died 5 times" in dead["error"] and "lower --max-concurrent" in dead["error"]
    assert Trial.from_json(dead["settings"]) == trial
    assert dead["num_layers"] == searcher._queue.study.backbone.num_layers
    assert searcher.suggest("t2") == Searcher.FINISHED
    assert [cell for cell, _ in queue.failures()] == [Cell("aa", "qqp", "100", 42)]


RAISED = """Failure # 1 (occurred at 2026-11-27_01-14-36)
The actor died unexpectedly before finishing this task.

Failure # 2 (occurred at 2026-11-27_01-14-46)
\x1b[36mray::ResourceTrainable.train()\x1b[39m (pid=10617, ip=127.0.0.1)
  File "aa_ray/store/provenance.py", line 71, in versions
    found[package] = importlib.metadata.version(package)
importlib.metadata.PackageNotFoundError: No package metadata was found for aa-ray

"""


def test_an_exception_of_a_worker_is_named(
    searcher: QueueSearcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of an incomplete installation: it happens again in every new process."""
    said: list[str] = []
    monkeypatch.setattr(searcher.progress, "say", said.append)
    suggested(searcher, "t1")
    searcher.on_trial_death("t1", RAISED)
    searcher.on_trial_complete("t1", None, error=True)
    [dead] = Store(str(tmp_path)).read().to_pylist()
    exception = "PackageNotFoundError: No package metadata was found for aa-ray"
    assert dead["error"].startswith(f"its worker failed 5 times: {exception}; ")
    assert said[0].endswith(f": the worker failed ({exception}); continuing")


def test_a_trial_of_another_driver_is_left_to_it_and_its_row_used(
    searcher: QueueSearcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher_module, "LOOK_SECONDS", -1.0)
    theirs = TrialQueue(searcher._queue.study, [])
    with Leases(Folder(str(tmp_path))) as leases:
        other = driver(theirs, tmp_path, leases)
        trial, _ = suggested(other, "o1")
        assert searcher.suggest("t1") is None
        assert searcher._queue.counts() == {"elsewhere": 1, "blocked": 1}
        Store(str(tmp_path)).write([row(trial.id, selected_layers=[1])])
        other.on_trial_complete("o1", report(trial, selected_layers=[1]))
        focused, _ = suggested(searcher, "t2")
        assert focused.layers == (1,)
        assert other.suggest("o2") is None


def test_a_new_failure_of_another_driver_is_not_tried_again(
    queue: TrialQueue, searcher: QueueSearcher, tmp_path: Path
) -> None:
    [cell] = [cell for cell in queue.study.cells if cell.method == "aa"]
    trial = queue.trial(cell)
    assert trial is not None
    failure = row(trial.id, status="failed", error="NaN")
    Store(str(tmp_path)).write([failure])
    assert searcher.suggest("t1") == Searcher.FINISHED
    assert queue.failures() == [(cell, "NaN")]
    retried = TrialQueue(queue.study, [failure])
    retried.forget_failures()
    with Leases(Folder(str(tmp_path))) as leases:
        job = job_of(driver(retried, tmp_path, leases), "t1")
        assert job == Job([trial], {trial.id: "aa"}, {trial.id: "NaN"})


def test_arrays_hold_trials_of_one_task_and_regime(tmp_path: Path) -> None:
    study = make_study(tasks=("qqp", "sst2"), seeds=(42, 92), methods=("baseline", "aa"))
    queue = TrialQueue(study, [])
    with Leases(Folder(str(tmp_path))) as leases:
        searcher = driver(queue, tmp_path, leases, fuse=3)
        found: list[list[str]] = []
        while isinstance(suggestion := searcher.suggest(str(len(found))), dict):
            found.append([trial.task for trial in Job.from_json(suggestion["job"]).trials])
    assert sorted(map(len, found)) == [1, 1, 3, 3]
    assert all(len(set(tasks)) == 1 for tasks in found)


@pytest.mark.parametrize(("slots", "sizes"), [(1, [4, 4]), (3, [3, 2, 1, 1, 1])])
def test_arrays_leave_no_slot_idle(tmp_path: Path, slots: int, sizes: list[int]) -> None:
    study = make_study(tasks=("qqp", "sst2"), seeds=(42, 92), methods=("baseline", "aa"))
    queue = TrialQueue(study, [])
    with Leases(Folder(str(tmp_path))) as leases:
        searcher = QueueSearcher(
            queue, Store(str(tmp_path)), leases, Progress(queue, slots), fuse=20, spread=slots
        )
        found: list[int] = []
        while isinstance(suggestion := searcher.suggest(str(len(found))), dict):
            found.append(len(Job.from_json(suggestion["job"]).trials))
    assert sorted(found, reverse=True) == sizes and len(found) >= slots


def test_an_interrupted_array_is_continued_as_it_was(tmp_path: Path) -> None:
    study = make_study(tasks=("qqp",), seeds=(42, 92), methods=("baseline", "aa"))
    queue = TrialQueue(study, [])
    trials = [queue.trial(cell) for cell in study.cells]
    members = [trial for trial in reversed(trials) if trial is not None][:3]
    folder = Folder(str(tmp_path))
    state = State([], {}, 0.0)
    folder.write(checkpoints.path(members), checkpoints.pack(state, members, {}))
    other = [dataclasses.replace(members[0], seed=7)]  # another study's trial
    folder.write(checkpoints.path(other), checkpoints.pack(state, other, {}))
    folder.write("checkpoints/broken.safetensors", b"noise")
    Store(folder).write([row(members[1].id)])
    finished = {"status": "finished", "selected_layers": None, "backbone": "toy", "task": "qqp",
                "regime": "100", "train_seconds": 1.0, "test_seconds": 1.0}  # fmt: skip
    queue.record({"trial_id": members[1].id, **finished})
    ids = [trial.id for trial in members]
    with Leases(folder) as leases:
        searcher = driver(queue, tmp_path, leases, fuse=1)
        job = job_of(searcher, "t1")
        assert job.trials == members and list(job.methods) == [ids[0], ids[2]]
        [single] = job_of(searcher, "t2").trials
        assert single not in members
        assert searcher.suggest("t3") is None
        rows = [{"trial_id": i, **finished} for i in job.methods]
        searcher.on_trial_complete("t1", Report(rows, ["a remark"]).to_result())
        assert queue.counts()["finished"] == 3
        with Leases(folder) as others:
            assert others.acquire(ids[0])  # the lease was released


def test_a_full_disk_ends_the_sweep_and_the_trial_can_run_again(
    searcher: QueueSearcher, tmp_path: Path
) -> None:
    trial, _ = suggested(searcher, "t1")
    full = Report(stop="cannot write to x (No space left on device)")
    searcher.on_trial_complete("t1", full.to_result())
    assert isinstance(searcher.stopped, SweepError)
    assert searcher.suggest("t2") == Searcher.FINISHED
    with Leases(Folder(str(tmp_path))) as leases:
        again = driver(TrialQueue(searcher._queue.study, []), tmp_path, leases)
        assert suggested(again, "t1")[0] == trial
