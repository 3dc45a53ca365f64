"""aa_ray.trial: the content hash."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aa_ray.trial import Trial

CHANGES: dict[str, Any] = {
    "task": "rte", "regime": "300", "seed": 1, "backbone": "b", "data": "d", "layers": (1,),
    "activation": "gelu", "switched": True, "inference_depths": (1, 2), "learning_rate": 2e-3,
    "rational_learning_rate": 0.02, "switch_learning_rate": 0.1, "epochs": 2, "batch_size": 16,
    "max_length": 64, "max_gradient_norm": 2.0, "reduction_factor": 8, "temperature": 0.2,
    "precision": "bf16",
    "switch_skip": "no", "switch_identity": "plain", "denominator": "B", "gradient_at_zero": "abs",
    "drop_range": "released", "restored_switches": "last", "empty_selection": "full",
    "pooling": "mean", "configuration": "lora",
}  # fmt: skip


def test_every_setting_changes_the_hash(make_trial: Callable[..., Trial]) -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Trial)}
    ids = {make_trial(**{name: value}).id for name, value in CHANGES.items()}
    assert len(ids | {make_trial().id}) == len(CHANGES) + 1


def test_ids_of_rows_that_exist_never_change(make_trial: Callable[..., Trial]) -> None:
    """New settings and changed defaults must not hide the trials of existing results."""
    assert make_trial(data="embedded").id == "96c7a610a8216c38226a"
    assert (
        make_trial(data="embedded", inference_depths=(1, 3), epochs=20).id == "fe56aad860970197513d"
    )


def test_the_hash_is_the_same_in_another_process(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(inference_depths=(0, 2))
    code = f"from aa_ray.trial import Trial; print(Trial.from_json({trial.to_json()!r}).id)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert found == trial.id and len(trial.id) == 20


@pytest.mark.parametrize("changes", [{}, CHANGES])
def test_json_round_trip(make_trial: Callable[..., Trial], changes: dict[str, Any]) -> None:
    trial = make_trial(**changes)
    assert Trial.from_json(trial.to_json()) == trial
