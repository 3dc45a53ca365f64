"""Training runs on a GPU against those on the CPU, and a study there: `pytest -m gpu`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.store.rows import read
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.outcome import Outcome
from aa_ray.trial import Trial
from tests.training.test_halving import DropoutlessWorker
from tests.training.test_loop import MIXED, check_same_history, run_array, run_one, without_dropout

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU"),
]

GPU = "cuda"
STUDIES = Path(__file__).parent.parent / "studies"


@pytest.mark.parametrize("changes", MIXED)
def test_a_training_is_that_of_the_cpu(
    tiny: Backbone, make_trial: Callable[..., Trial], changes: dict[str, Any]
) -> None:
    """With dropout off: dropout is drawn on the device, everything else is the trial's own."""
    trial = make_trial(epochs=3, **changes)
    here, there = (
        run_one(without_dropout(freeze(model.load(tiny.path), device)), trial)
        for device in ("cpu", GPU)
    )
    check_same_history(here, there, 1e-3)
    assert [e.adapter_layers for e in here.evaluations] == [
        e.adapter_layers for e in there.evaluations
    ]


def test_side_by_side_equals_one_by_one(tiny: Backbone, make_trial: Callable[..., Trial]) -> None:
    bert = without_dropout(freeze(model.load(tiny.path), GPU))
    trials = [make_trial(epochs=3, **changes) for changes in MIXED]
    for trial, together in zip(trials, run_array(bert, trials), strict=True):
        assert isinstance(together, Outcome)
        check_same_history(together, run_one(bert, trial), 1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_comes_close(
    tiny: Backbone, make_trial: Callable[..., Trial], precision: str
) -> None:
    """With dropout off: a GPU draws other dropout masks for bfloat16 than for float32."""
    worker = DropoutlessWorker(tiny, Source("embedded"), ("abc", False))
    trials = [make_trial(precision=name) for name in ("fp32", precision)]
    full, lower = (worker.run([trial], ["baseline"])[0][0] for trial in trials)
    assert lower["status"] == "finished", lower["error"]
    assert lower["curves"][0]["train_loss"] == pytest.approx(full["curves"][0]["train_loss"], 0.05)
    assert lower["device"] == torch.cuda.get_device_name()
    assert lower["peak_memory_bytes"] > 0


def test_a_study_uses_the_gpu(tiny_folder: Path, tmp_path: Path) -> None:
    """Half a GPU per process, and as many trials side by side as fit."""
    command = [sys.executable, str(STUDIES / "table2.py"), "--backbone", str(tiny_folder)]
    command += ["--tasks", "sst2", "--methods", "baseline", "aa", "--seeds", "42", "92"]
    command += ["--epochs", "2", "--gpus-per-trial", "0.5", "--fuse", "auto"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert ran.returncode == 0, ran.stderr
    rows = read(str(tmp_path / "results")).to_pylist()
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["device"] for row in rows} == {torch.cuda.get_device_name()}
    assert any(row["array"] for row in rows)
