"""aa_ray.sweep.leftovers, and what a command finds after a sweep."""

from pathlib import Path

import pytest

from aa_ray.commands import execution
from aa_ray.errors import SweepError
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.storage import Folder
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import leftovers
from tests.rows import row
from tests.study.test_grid import make_study


def complete(store: Store) -> TrialQueue:
    """Return the queue of a study whose only trial has finished."""
    study = make_study(tasks=("qqp",), seeds=(42,), methods=("baseline",))
    trial = TrialQueue(study, []).trial(study.cells[0])
    assert trial is not None
    finished = row(trial.id, backbone="toy", task="qqp", regime="100", train_seconds=1.0,
                   test_seconds=1.0)  # fmt: skip
    store.write([finished])
    return TrialQueue(study, [dict(finished)])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_finished_study_leaves_its_rows_and_nothing_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    queue = complete(store)
    [trial_id] = queue.trial_ids
    for name in (f"leases/{trial_id}.1", f"checkpoints/{trial_id}.safetensors"):
        store.folder.write(name, b"nobody")
    leftovers.remove_after(queue, store)
    assert files(tmp_path) == [f"rows/{trial_id}.parquet"]


def test_what_another_driver_needs_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    queue = complete(store)
    with Leases(Folder(str(tmp_path))) as other:
        assert other.acquire("another trial")
        leftovers.remove_after(queue, store)
        assert store.folder.names("leases") == ["another trial.1"]
        assert len(store.folder.names("drivers")) == 1


def test_a_tidy_folder_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    queue = complete(store)
    for name in ("write", "write_once", "delete", "move"):
        monkeypatch.delattr(Folder, name)
    leftovers.remove_after(queue, store)


def test_rows_that_have_gone_are_said_to_be_gone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    queue = complete(store)
    execution._check_after(queue, store.read(), store)
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(SweepError, match="rows of 1 finished trials are gone"):
        execution._check_after(queue, store.read(), store)
