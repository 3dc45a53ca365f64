"""aa_ray.sweep.trackers: the available tools, and the message if one is not installed."""

import pytest

from aa_ray.errors import UsageError
from aa_ray.sweep import trackers


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers.check(["mlflow", "wandb", "mlflow"]) == ("mlflow", "wandb")
    assert trackers.check([]) == ()
    with pytest.raises(UsageError, match=r"unknown tracker 'comet' \(allowed: tensorboard, wandb"):
        trackers.check(["comet"])
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--track wandb: the package wandb is not installed; pip"):
        trackers.check(["wandb"])
