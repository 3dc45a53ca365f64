"""Tests aa_ray.sweep.finished: what remains of a trial is small, and Tune can still use it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import tune
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from aa_ray.sweep import finished
from aa_ray.sweep.callback import SweepCallback


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A stopped trial with a folder for its results."""
    storage = StorageContext(str(tmp_path), experiment_dir_name="study")
    monkeypatch.setattr(
        StorageContext,
        "trial_driver_staging_path",
        property(lambda self: str(tmp_path / "staging")),
    )
    (tmp_path / "staging").mkdir()
    return stopped(storage, "1")


def stopped(storage: StorageContext, trial_id: str) -> Trial:
    """Return a trial that Tune has stopped after it reported a long result."""
    trial = Trial(
        "actor", stub=True, storage=storage, config={"job": "x" * 5000}, trial_id=trial_id,
        evaluated_params={"job": "x" * 5000}, experiment_tag="x" * 200,
        placement_group_factory=tune.PlacementGroupFactory([{"CPU": 1}]),
    )  # fmt: skip
    trial.relative_logdir = trial_id
    trial.update_last_result(
        {"report": "x" * 5000, "done": True, **{f"n{k}": k for k in range(50)}}
    )
    trial.set_status(Trial.TERMINATED)
    return trial


def held(trial: Trial) -> int:
    """Return the characters of the state that Tune would save."""
    return sum(map(len, trial.get_json_state()))


def test_little_remains(trial: Trial, tmp_path: Path) -> None:
    assert held(trial) > 20_000
    finished.shrink(trial, like=trial)
    assert held(trial) < 4_000
    assert not (tmp_path / "staging").exists()
    assert trial.is_finished() and trial.last_result["done"]  # without asking its actor


def test_a_folder_that_somebody_uses_stays(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "staging" / "file").touch()
    finished.shrink(trial, like=trial)
    assert (tmp_path / "staging" / "file").exists()


def test_trials_are_shrunk_once_tune_has_stopped_them(trial: Trial) -> None:
    progress = SimpleNamespace(update=lambda: None)
    callback = SweepCallback(SimpleNamespace(progress=progress), None)  # type: ignore[arg-type]
    trial.set_status(Trial.RUNNING)
    callback.on_trial_complete(1, [trial], trial)
    callback.on_step_end(1, [trial])
    assert trial.config  # Tune still needs it to stop the trial
    trial.set_status(Trial.TERMINATED)
    callback.on_step_end(2, [trial])
    assert not trial.config


def test_finished_trials_leave_tunes_list(trial: Trial) -> None:
    """Except for the first; trials that Tune is still ending stay whole."""
    ended = [stopped(trial.storage, str(number)) for number in range(finished.RECENT + 2)]
    running = stopped(trial.storage, "running")
    running.set_status(Trial.RUNNING)
    listed = [trial, *ended, running]
    trials = finished.FinishedTrials()
    for one in (trial, *ended):
        trials.add(one)
    trials.drop(listed)
    assert listed == [trial, running] and trial.last_result["done"]
    assert [len(vars(one)) for one in ended[:3]] == [2, 2, len(vars(trial))]
    assert ended[0].is_finished() and hash(ended[0])
