"""aa_ray.sweep.tune: checks before the start. tests/test_table2.py runs whole sweeps."""

import sys
from pathlib import Path

import pytest

from aa_ray.errors import UsageError
from aa_ray.store.rows import Store
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import tune
from aa_ray.sweep.resources import Resources
from aa_ray.sweep.tune import _check_that_somebody_listens
from tests.study.test_grid import make_study


def test_too_little_space_is_said_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = TrialQueue(make_study(), [])
    store = Store(str(tmp_path))
    tune._check_space(queue, store, 2)
    monkeypatch.setattr(store.folder, "free_bytes", lambda: 1000)
    with pytest.raises(UsageError, match=r"0 MB are free, rows and checkpoints may need \d+ MB"):
        tune._check_space(queue, store, 2)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1", "host:port"])
def test_an_address_is_checked_at_once(address: str) -> None:
    with pytest.raises(UsageError, match=f"--address {address}: no Ray cluster answers"):
        _check_that_somebody_listens(address)


def test_a_dashboard_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.dashboard.optional_deps", None)
    with pytest.raises(UsageError, match=r"--dashboard: .* is not installed .*\[cluster\]"):
        tune.start_ray(Resources(dashboard=True))
