"""Ray assigns GPUs to processes, and faults end only what they concern; no real GPU is needed.

tests/test_gpu.py runs a study on a real one.
"""

import functools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aa_ray.commands.from_options import resources_from
from aa_ray.commands.options import study_parser
from aa_ray.errors import DeviceError
from aa_ray.store.rows import Store
from aa_ray.store.schema import FINISHED, Row, make_row
from aa_ray.study.grid import Study
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import memory, tune
from aa_ray.sweep.actor import TrialActor, prepare_device
from aa_ray.sweep.resources import Resources, Settled
from aa_ray.trial import Trial
from tests.study.test_grid import make_study

tune.ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

GB = 10**9


class NotingActor(TrialActor):
    """Trains nothing; a row's ``device`` records what the process was given."""

    def make_worker(self, setting: dict[str, Any], store: Store) -> Any:
        import torch

        torch.cuda.is_available = lambda: True
        torch.cuda.set_per_process_memory_fraction = lambda share: shares.append(share)  # type: ignore
        shares: list[float] = []
        device = self._device(setting["gpus"])
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        text = json.dumps([device, seen, shares, os.getpid(), os.environ.get("PYTORCH_ALLOC_CONF")])
        return NotingWorker(text)


class NotingWorker:
    def __init__(self, text: str) -> None:
        self.remarks: list[str] = []
        self._text = text

    def run(self, trials: Sequence[Trial], methods: Sequence[str]) -> list[list[Row]]:
        import time

        time.sleep(0.5)  # so that all processes get one
        parts = ({"method": m, "device": self._text, "num_layers": 4} for m in methods)
        return [
            [make_row(t.columns, FINISHED, part)] for t, part in zip(trials, parts, strict=True)
        ]


class BreakingActor(TrialActor):
    """An actor whose GPU fails in the first process that runs a job."""

    def make_worker(self, setting: dict[str, Any], store: Store) -> Any:
        first = Path(store.uri) / "first"
        worker = NotingWorker(json.dumps([os.getpid()]))
        if not first.exists():
            first.write_text(str(os.getpid()))

            def fail(*_: Any) -> None:
                raise DeviceError("the GPU fails in this process (CUDA error: ECC memory)")

            worker.run = fail  # type: ignore
        return worker


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Ray count two GPUs, with 24 GB each according to torch."""
    monkeypatch.setattr(tune.ray, "init", functools.partial(tune.ray.init, num_gpus=2, num_cpus=4))
    monkeypatch.setattr(memory, "local_gpus", lambda: [24 * GB] * 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def run(study: Study, folder: Path, resources: Resources, actor: type[TrialActor]) -> list[Any]:
    queue = TrialQueue(study, [])
    store = Store(str(folder))
    tune.run_study(queue, store, resources, actor)
    assert queue.complete and not queue.failures()
    return [json.loads(row["device"]) for row in store.read(["device"]).to_pylist()]


STUDY = make_study(methods=("baseline",), tasks=("cola",), seeds=tuple(range(12)))


def options(*arguments: str) -> Resources:
    return resources_from(study_parser("", ["aa"]).parse_args(arguments))


@pytest.mark.usefixtures("two_gpus")
def test_each_process_has_one_gpu_and_uses_that_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uses the defaults of the command line."""
    seen = run(STUDY, tmp_path, options(), NotingActor)
    assert "2 GPUs: 4 processes of up to 20 trials each\n" in capsys.readouterr().err
    gpu_of = {pid: (device, visible) for device, visible, *_, pid, _ in seen}
    assert {device for device, _ in gpu_of.values()} == {"cuda"}
    assert {visible for _, visible in gpu_of.values()} == {"0", "1"}
    for _, _, shares, _, allocator in seen:
        assert 0.4 < shares[0] < 0.5 and allocator == "expandable_segments:True"


@pytest.mark.usefixtures("two_gpus")
def test_no_gpus_means_the_cpu_even_where_there_are_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = run(STUDY, tmp_path, options("--gpus-per-trial", "0"), NotingActor)
    assert {(device, visible) for device, visible, *_ in seen} == {("cpu", "")}
    assert all(shares == [] for _, _, shares, *_ in seen)
    assert "GPU" not in capsys.readouterr().err


def test_a_gpu_that_fails_ends_its_process_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = Resources(max_concurrent=1)
    pids = {pid for [pid] in run(STUDY, tmp_path, resources, BreakingActor)}
    assert int((tmp_path / "first").read_text()) not in pids
    said = capsys.readouterr().err
    assert "the worker process died (the GPU fails in this process (CUDA error: ECC" in said


@pytest.mark.usefixtures("two_gpus")
def test_gpus_that_torch_does_not_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "local_gpus", lambda: [])
    study = make_study(methods=("baseline",), tasks=("cola",), seeds=(1,))
    [[device, visible, *_]] = run(study, tmp_path, options(), NotingActor)
    assert (device, visible) == ("cpu", "")
    assert "note: Ray counts GPUs on 1 of the machines, but torch sees none" in (
        capsys.readouterr().err
    )


def test_defaults() -> None:
    """Uses GPUs where they exist, and otherwise CPUs with one trial at a time."""
    queue = TrialQueue(STUDY, [])
    assert memory.settle(options(), queue, []) == memory.settle(Resources(cpu_fuse=1), queue, [])
    on_gpus = memory.settle(options(), queue, [24 * GB])
    assert on_gpus.gpus_per_trial and on_gpus.fuse > 1
    assert memory.settle(options("--fuse", "auto"), queue, []).fuse == 4
    assert memory.settle(options("--gpus-per-trial", "0"), queue, [24 * GB]).gpus_per_trial == 0


@pytest.mark.parametrize(
    ("settled", "slots", "words"),
    [
        (Settled(gpus_per_trial=1, fuse=12), 4, "4 GPUs: 4 processes of up to 12 trials each"),
        (Settled(gpus_per_trial=0.25, fuse=1), 8, "2 GPUs: 8 processes of one trial each"),
        (Settled(gpus_per_trial=0.5, fuse=3), 1, "1 GPU: 1 process of up to 3 trials each"),
        (Settled(gpus_per_trial=2.0, fuse=3), 2, "4 GPUs: 2 processes of up to 3 trials each"),
    ],
)
def test_in_words(settled: Settled, slots: int, words: str) -> None:
    assert settled.in_words(slots) == words


def test_what_torch_may_see_is_said_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": "3"})
    prepare_device(0.5)
    assert os.environ == {
        "CUDA_VISIBLE_DEVICES": "3", "PYTORCH_ALLOC_CONF": "expandable_segments:True"
    }  # fmt: skip
    prepare_device(0.0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(os, "environ", {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"})
    prepare_device(1.0)
    assert set(os.environ) == {"PYTORCH_CUDA_ALLOC_CONF"}


@pytest.mark.parametrize(
    ("address", "seconds", "suggested"),
    [("auto", 7200.0, True), ("auto", 600.0, False), (None, 7200.0, False)],
)
def test_a_long_study_on_a_cluster_suggests_the_doctor(
    address: str | None, seconds: float, suggested: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are twelve trials, each of this many seconds on a whole GPU."""
    done = make_study(methods=("baseline",), tasks=("cola",), seeds=(99,))
    finished = {
        "trial_id": "x", "status": "finished", "backbone": done.backbone.identity,
        "method": "baseline", "task": "cola", "regime": STUDY.regimes[0], "array": None,
        "train_seconds": seconds, "test_seconds": 0.0,
    }  # fmt: skip
    settled = Settled(gpus_per_trial=1.0, address=address)
    tune._suggest_doctor(TrialQueue(STUDY, [finished]), settled, 2)
    said = capsys.readouterr().err
    assert ("about 24 GPU-hours of work; python -m aa_ray doctor --address auto" in said) == (
        suggested
    )
