"""Tests aa_ray.sweep.finished: during a sweep, Tune drops finished trials."""

import gc
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution._internal import TrackedActor
from ray.tune.experiment import Trial

from aa_ray.store.rows import Store
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import finished, pulse, tune
from aa_ray.sweep.resources import Resources
from aa_ray.sweep.searcher import QueueSearcher
from benchmarks import scheduling

SEEDS = 4  # five or six trials each

# Objects of Tune at any moment: the first trial; what runs, waits, or has just ended.
MOST = 5


class Counter:
    """Counts what a driver holds whenever it starts a trial."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trials: list[int] = []
        self.actors: list[int] = []
        self.ended: list[str] = []
        suggest = QueueSearcher.suggest

        def counting(searcher: QueueSearcher, trial_id: str) -> Any:
            gc.collect()
            kinds = [type(one) for one in gc.get_objects()]
            self.trials.append(kinds.count(Trial))
            self.actors.append(kinds.count(TrackedActor))
            return suggest(searcher, trial_id)

        def forgetting(job_id: str) -> None:
            assert pulse.heard(job_id) is not None
            pulse.forget(job_id)
            assert pulse.heard(job_id) is None
            self.ended.append(job_id)

        monkeypatch.setattr(QueueSearcher, "suggest", counting)
        monkeypatch.setattr(tune, "PulseWatch", partial(pulse.PulseWatch, forget=forgetting))


def test_a_driver_holds_few_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    counter = Counter(monkeypatch)
    whole = scheduling.study(SEEDS, scheduling.even(0.0))
    queue = TrialQueue(replace(whole, tasks=("qqp",), regimes=("100",)), [])
    resources = Resources(fuse=1, max_concurrent=2)
    tune.run_study(queue, Store(str(tmp_path)), resources, actor=scheduling.SleepingActor)
    assert queue.complete and not queue.failures()
    assert len(counter.ended) == queue.counts()["finished"] >= 4 * SEEDS
    assert max(counter.trials) <= MOST and max(counter.actors) <= MOST
    assert "Traceback" not in capfd.readouterr().err


class Stopped:
    """A trial in Tune's hands."""

    TERMINATED, PENDING, PAUSED = "TERMINATED", "PENDING", "PAUSED"

    def __init__(self, folder: Path, status: str) -> None:
        self.status = status
        self.storage = self
        self.trial_driver_staging_path = str(folder)


class Controller:
    def __init__(self, *trials: Stopped) -> None:
        self._trials = list(trials)
        self._stopped_trials = set(trials)
        self._trials_to_cache = set(trials)
        self._actor_manager = SimpleNamespace(
            _pending_actors_to_attrs={}, _pending_actors_to_enqueued_actor_tasks={}
        )

    def get_trials(self) -> list[Stopped]:
        return self._trials


def test_only_empty_folders_and_stopped_trials_go(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "empty", "used", "running")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "used" / "file").touch()
    first, *ended, running = (Stopped(folder, "TERMINATED") for folder in folders)
    running.status = "RUNNING"
    controller = Controller(first, *ended, running)
    scheduler = finished.FinishedTrials()
    for trial in controller.get_trials():
        scheduler.on_trial_complete(controller, trial, {})
    assert scheduler.choose_trial_to_run(controller) is None
    assert controller._trials == [first, running]
    assert controller._stopped_trials == controller._trials_to_cache == {first, running}
    assert sorted(os.listdir(tmp_path)) == ["running", "used"]
    running.status = "TERMINATED"
    scheduler.choose_trial_to_run(controller)
    assert controller._trials == [first]


def test_another_version_of_tune_keeps_its_records(tmp_path: Path) -> None:
    trials = [Stopped(tmp_path / name, "TERMINATED") for name in "ab"]
    controller = SimpleNamespace(get_trials=lambda: trials, records=set(trials))
    scheduler = finished.FinishedTrials()
    scheduler.on_trial_complete(controller, trials[1], {})
    assert scheduler.choose_trial_to_run(controller) is None and len(controller.records) == 2
