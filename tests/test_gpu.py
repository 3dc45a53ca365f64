"""Compares kernels and training runs on a GPU with the CPU, and runs a study on a GPU.

``aa_ray.training.selfcheck`` holds the comparisons shared with `aa-ray doctor`.
Run with `pytest -m gpu`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.rational import triton_fault
from aa_ray.data.glue import Source
from aa_ray.store.rows import read
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints, loop, selfcheck
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.outcome import Outcome
from aa_ray.training.random_encoders import without_dropout
from aa_ray.training.worker import Worker
from aa_ray.trial import Precision, Trial
from tests.training.test_halving import check_same, stop
from tests.training.test_loop import MIXED, check_same_history, run_array, run_one

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no NVIDIA GPU"),
]

GPU = "cuda"
STUDIES = Path(__file__).parent.parent / "studies"


@pytest.fixture(autouse=True)
def full_precision() -> None:
    """Restore full precision, since a worker with tf32 changes it for the whole process."""
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("changes", MIXED)
def test_a_training_is_that_of_the_cpu(
    tiny: Backbone, make_trial: Callable[..., Trial], changes: dict[str, Any]
) -> None:
    """Dropout is off because its masks are drawn on the device; other draws belong to the trial."""
    trial = make_trial(epochs=3, **changes)
    here, there = (
        run_one(without_dropout(freeze(model.load(tiny.path), device)), trial)
        for device in ("cpu", GPU)
    )
    check_same_history(here, there, selfcheck.TOLERANCE)
    assert [e.adapter_layers for e in here.evaluations] == [
        e.adapter_layers for e in there.evaluations
    ]


@pytest.mark.parametrize("kind", selfcheck.architectures())
def test_every_architecture_computes_what_the_cpu_does(kind: str) -> None:
    assert selfcheck.architecture_difference(kind, GPU) <= selfcheck.TOLERANCE


def test_side_by_side_equals_one_by_one(tiny: Backbone, make_trial: Callable[..., Trial]) -> None:
    bert = without_dropout(freeze(model.load(tiny.path), GPU))
    trials = [make_trial(epochs=3, **changes) for changes in MIXED]
    for trial, together in zip(trials, run_array(bert, trials), strict=True):
        assert isinstance(together, Outcome)
        check_same_history(together, run_one(bert, trial), selfcheck.TOLERANCE)


def test_rationals_are_computed_by_triton() -> None:
    assert triton_fault() is None
    assert selfcheck.rational_difference(GPU) < 1e-4


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_comes_close(
    tiny: Backbone, make_trial: Callable[..., Trial], precision: Precision
) -> None:
    """Dropout is off because its mask depends on the numeric type."""
    losses = []
    for name in ("fp32", precision):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        bert = without_dropout(freeze(model.load(tiny.path), GPU, name))
        losses.append(run_one(bert, make_trial(precision=name)).history[1].train_loss)
    assert losses[1] == pytest.approx(losses[0], 0.05)
    assert selfcheck.precision_difference(precision, GPU) < selfcheck.LOWER_TOLERANCE


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_rows_name_the_gpu(
    tiny: Backbone, make_trial: Callable[..., Trial], precision: Precision
) -> None:
    worker = Worker(tiny, Source("embedded"), ("abc", False))
    [[row]] = worker.run([make_trial(precision=precision)], ["baseline"])
    assert row["status"] == "finished", row["error"]
    assert row["device"] == torch.cuda.get_device_name()
    assert row["peak_memory_bytes"] > 0


def test_a_row_says_what_the_gpu_was(tiny: Backbone, make_trial: Callable[..., Trial]) -> None:
    [[row]] = Worker(tiny, Source("embedded"), ("abc", False)).run([make_trial()], ["baseline"])
    versions = json.loads(row["versions"])
    assert {"cuda", "cudnn", "triton"} <= set(versions)
    total = torch.cuda.get_device_properties(0).total_memory
    assert 0 < (row["device_memory_bytes"] or 0) <= total


def test_the_same_trial_is_the_same_bit_by_bit(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", switched=True, epochs=3)
    rows = [
        Worker(tiny, Source("embedded"), ("abc", False)).run([trial], ["aa"])[0][0]
        for _ in range(2)
    ]
    for name in ("curves", "switch_logits", "numerators", "denominators", "test_metric"):
        assert dict(rows[0])[name] == dict(rows[1])[name]


def test_what_was_interrupted_goes_on_as_undisturbed(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Dropout is on; its generator is the GPU's."""
    trial = make_trial(activation="rational:one", switched=True, epochs=4)
    monkeypatch.setattr(checkpoints.Checkpoint, "due", lambda _: True)
    expected = Worker(tiny, Source("embedded"), ("abc", False)).run([trial], ["aa"])
    develop = loop._develop
    folder = Folder(str(tmp_path))
    with monkeypatch.context() as interrupted:
        calls = iter([develop, develop, stop])
        interrupted.setattr(loop, "_develop", lambda *arguments: next(calls)(*arguments))
        with pytest.raises(KeyboardInterrupt):
            Worker(tiny, Source("embedded"), ("abc", False), folder).run([trial], ["aa"])
    rows = Worker(tiny, Source("embedded"), ("abc", False), folder).run([trial], ["aa"])
    assert rows[0][0]["resumed_after"] == [2]
    check_same(rows, expected)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit GPU memory so that a group has to be divided, and lift the limit afterwards.

    On an H100 a single matrix product asks for a workspace of 34 MB.
    """
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 64e6) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_is_no_failure(tiny: Backbone, make_trial: Callable[..., Trial]) -> None:
    """Trains 160 trials, which need more than 64 MB; no memory stays allocated afterwards."""
    trials = [make_trial(seed=seed, epochs=2) for seed in range(160)]
    worker = Worker(tiny, Source("embedded"), ("abc", False))
    rows = [of_trial[0] for of_trial in worker.run(trials, ["baseline"] * 160)]
    assert {(row["status"], row["error"]) for row in rows} == {("finished", None)}
    assert max(len(row["array"] or [1]) for row in rows) < 160 and worker.remarks


@pytest.mark.parametrize("share", ["0.5", None, "0"])
def test_a_study_uses_the_gpu_unless_told_otherwise(
    tiny_folder: Path, tmp_path: Path, share: str | None
) -> None:
    """Without a share, GPU and backbone determine how many trials run side by side."""
    command = [sys.executable, str(STUDIES / "table2.py"), "--backbone", str(tiny_folder)]
    command += ["--tasks", "sst2", "--methods", "baseline", "aa", "--seeds", "42", "92"]
    command += ["--epochs", "2"] + ([] if share is None else ["--gpus-per-trial", share])
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert ran.returncode == 0, ran.stderr
    rows = read(str(tmp_path / "results")).to_pylist()
    assert {row["status"] for row in rows} == {"finished"}
    devices = {row["device"] for row in rows}
    if share == "0":
        assert all(device.startswith("cpu") for device in devices)
    else:
        assert devices == {torch.cuda.get_device_name()}
        assert " GPU" in ran.stderr and "of up to" in ran.stderr
