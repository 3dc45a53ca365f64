"""Out of memory is no failure: the group continues as halves and gives an undisturbed run's rows.

Device errors concern the whole process.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.errors import DeviceError
from aa_ray.store.schema import Row
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints, device, epoch, evaluation, halving, loop
from aa_ray.training.optimizers import StackedAdam
from aa_ray.training.random_encoders import without_dropout
from aa_ray.training.stacked_training import StackedTraining
from aa_ray.training.trainer import TrialTrainer
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

# Columns that do not depend on the number of trials side by side, up to rounding.
RESULTS = ("curves", "test_metric", "switch_logits", "numerators", "denominators", "best_epoch")


class DropoutlessWorker(Worker):
    """Trains without dropout, so that the size of groups makes no difference.

    Dropout would be drawn for all trials of a group together.
    """

    def _encoder(self, trial: Trial) -> PreTrainedModel:
        return without_dropout(super()._encoder(trial))


def worker(tiny: Backbone, folder: Path | None) -> Worker:
    results = None if folder is None else Folder(str(folder))
    return DropoutlessWorker(tiny, Source("embedded"), (None, None), results)


@pytest.fixture
def trials(make_trial: Callable[..., Trial]) -> list[Trial]:
    """Five trials of different kinds, so that training reorders them."""
    switched = {"activation": "rational:one", "switched": True}
    kinds: list[dict[str, Any]] = [
        {},
        switched,
        {"seed": 1},
        {"inference_depths": (1, 3)},
        switched,
    ]
    return [make_trial(epochs=4, **{"seed": 42 + k, **kind}) for k, kind in enumerate(kinds)]


@pytest.fixture
def undisturbed(tiny: Backbone, trials: list[Trial]) -> list[list[Row]]:
    return worker(tiny, None).run(trials, ["x"] * len(trials))


def check_same(rows: list[list[Row]], expected: list[list[Row]]) -> None:
    for of_trial, others in zip(rows, expected, strict=True):
        for row, other in zip(of_trial, others, strict=True):
            assert row["status"] == "finished", row["error"]
            assert row["trial_id"] == other["trial_id"]
            for name in RESULTS:
                assert flat(dict(row)[name]) == pytest.approx(
                    flat(dict(other)[name]), rel=1e-3, abs=1e-4
                ), name


def flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in flat(part)]
    return [] if value is None else [value]


def starve(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fails: Callable[..., bool]
) -> list[int]:
    """Run out of memory in calls of the function for which ``fails`` is true.

    Returns a list that grows with each failure.
    """
    original, failures = getattr(owner, name), []

    def starved(*arguments: Any, **settings: Any) -> Any:
        if fails(*arguments):
            failures.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*arguments, **settings)

    monkeypatch.setattr(owner, name, starved)
    return failures


def after(calls: int) -> Callable[..., bool]:
    """Return a function that is true once, after this many calls."""
    count = iter(range(10**9))
    return lambda *_: next(count) == calls


def in_training(monkeypatch: pytest.MonkeyPatch, most: int, calls: int) -> list[int]:
    """Let groups of more than ``most`` trials run out of memory after this many steps."""
    count = iter(range(10**9))
    return starve(
        monkeypatch, StackedTraining, "forward",
        lambda training, _: len(training.trainers) > most and next(count) >= calls,
    )  # fmt: skip


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_more_than_fit(
    tiny: Backbone, trials: list[Trial], undisturbed: list[list[Row]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, most: int, kept: bool,
) -> None:  # fmt: skip
    """Memory runs out in the third epoch, with and without a results folder for checkpoints."""
    monkeypatch.setattr(checkpoints.Checkpoint, "due", lambda _: True)
    failures = in_training(monkeypatch, most, calls=7)  # 3 steps per epoch
    process = worker(tiny, tmp_path if kept else None)
    rows = process.run(trials, ["x"] * 5)
    check_same(rows, undisturbed)
    first = [of_trial[0] for of_trial in rows]
    assert all(len(row["array"] or [1]) <= most for row in first)
    assert [row["resumed_after"] for row in first] == [[2] if kept else []] * 5
    assert first[0]["too_many_trials"] == {1: 2, 2: 3, 3: 5}[most]
    assert len(process.remarks) == len(failures) == {1: 3, 2: 2, 3: 1}[most]
    assert "sst2 100: the memory of cpu" in process.remarks[0]
    assert "is not enough for 5 trials side by side" in process.remarks[0]
    # The next group is never tried as a whole.
    failures.clear()
    again = process.run(trials, ["x"] * 5)
    assert not failures and not process.remarks
    check_same(again, undisturbed)


@pytest.mark.parametrize("where", ["backward", "step", "evaluation", "test", "load", "attach"])
def test_wherever_it_happens(
    tiny: Backbone, trials: list[Trial], undisturbed: list[list[Row]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, where: str,
) -> None:  # fmt: skip
    owner, name, calls = {
        "backward": (torch.autograd, "grad", 4),
        "step": (StackedAdam, "step", 4),
        "evaluation": (evaluation, "_logits_in_memory", 6),
        "test": (loop, "_test", 0),
        "load": (model, "load", 0),
        "attach": (model, "attach", 0),
    }[where]
    failures = starve(monkeypatch, owner, name, after(calls))
    check_same(worker(tiny, tmp_path).run(trials, ["x"] * 5), undisturbed)
    assert len(failures) == 1


def test_at_the_load_of_a_checkpoint(
    tiny: Backbone, trials: list[Trial], undisturbed: list[list[Row]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(checkpoints.Checkpoint, "due", lambda _: True)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(loop, "_test", stop)
        with pytest.raises(KeyboardInterrupt):
            worker(tiny, tmp_path).run(trials, ["x"] * 5)
    failures = starve(monkeypatch, TrialTrainer, "resume", after(3))
    rows = worker(tiny, tmp_path).run(trials, ["x"] * 5)
    check_same(rows, undisturbed)
    assert len(failures) == 1 and {tuple(r[0]["resumed_after"]) for r in rows} == {(4,)}


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_evaluation_takes_smaller_batches(
    tiny: Backbone, trials: list[Trial], undisturbed: list[list[Row]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All trials stay side by side, and later evaluations start with the size that fitted."""
    monkeypatch.setattr(evaluation._LIMIT, "tokens", evaluation._LIMIT.tokens)
    failures = starve(monkeypatch, evaluation, "_logits", lambda _, __, tokens: tokens > 600)
    rows = worker(tiny, None).run(trials, ["x"] * 5)
    check_same(rows, undisturbed)
    assert len(failures) == 2 and evaluation._LIMIT.tokens == 512
    assert {len(of_trial[0]["array"] or []) for of_trial in rows} == {5}


def test_one_trial_that_does_not_fit_has_failed(
    tiny: Backbone, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_training(monkeypatch, 0, calls=0)
    process = worker(tiny, None)
    for [row] in process.run(trials[:3], ["x"] * 3):
        assert row["status"] == "failed" and "raise --gpus-per-trial" in (row["error"] or "")
    monkeypatch.undo()
    assert process.run(trials[:1], ["x"])[0][0]["status"] == "finished"


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_failed_step_leaves_no_activations(
    tiny: Backbone, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations are freed before the halves start and without the garbage collector.

    The autograd graph is therefore in no reference cycle.
    """
    monkeypatch.setattr(gc, "collect", lambda: 0)
    activations: list[weakref.ref[torch.Tensor]] = []
    original = epoch.losses

    def note(logits: torch.Tensor, *others: Any) -> torch.Tensor:
        loss = original(logits, *others)
        activations.extend(weakref.ref(tensor) for tensor in (logits, loss))
        return loss

    alive: list[int] = []
    halve = halving.halve

    def count(*arguments: Any) -> Any:
        alive.append(sum(tensor() is not None for tensor in activations))
        return halve(*arguments)

    monkeypatch.setattr(epoch, "losses", note)
    monkeypatch.setattr(halving, "halve", count)
    starve(monkeypatch, torch.autograd, "grad", after(2))
    worker(tiny, None).run(trials, ["x"] * 5)
    assert alive == [0] and len(activations) >= 6


def test_whoever_continues_finds_the_halves(
    tiny: Backbone, trials: list[Trial], undisturbed: list[list[Row]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The process dies in the first half. Another one, with enough memory, gets all trials."""
    monkeypatch.setattr(checkpoints.Checkpoint, "due", lambda _: True)
    with monkeypatch.context() as first:
        in_training(first, 3, calls=7)
        first.setattr(loop, "_test", stop)
        with pytest.raises(KeyboardInterrupt):
            worker(tiny, tmp_path).run(trials, ["x"] * 5)
    groups = halving.halves(trials)
    folder = Folder(str(tmp_path))
    assert {tuple(t.id for t in g) for g in checkpoints.interrupted_groups(folder, set())} == {
        tuple(trial.id for trial in group) for group in groups
    }
    assert halving.begun(trials, folder) == groups
    rows = worker(tiny, tmp_path).run(trials, ["x"] * 5)
    check_same(rows, undisturbed)
    assert sorted(len(of_trial[0]["array"] or []) for of_trial in rows) == [2, 2, 3, 3, 3]
    of_first = {trial.id for trial in groups[0]}
    assert {tuple(r[0]["resumed_after"]) for r in rows if r[0]["trial_id"] in of_first} == {(2, 4)}


def test_a_group_without_checkpoints_begins_as_one(trials: list[Trial], tmp_path: Path) -> None:
    assert halving.begun(trials, None) == [trials]
    assert halving.begun(trials, Folder(str(tmp_path))) == [trials]


@pytest.mark.parametrize(
    ("error", "out_of_memory", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (torch.AcceleratorError("unspecified launch failure"), False, True),
        (RuntimeError("shape '[3]' is invalid for input of size 4"), False, False),
        (ValueError("CUDA error"), False, False),
    ],
)
def test_whose_fault_an_error_is(error: Exception, out_of_memory: bool, fault: bool) -> None:
    assert (device.is_out_of_memory(error), device.is_fault(error)) == (out_of_memory, fault)


def test_an_error_of_the_device_ends_the_process(
    tiny: Backbone, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process also ends if only a later call shows that the device no longer works."""
    broken = RuntimeError("CUDA error: an illegal memory access was encountered")

    def fail(*_: Any, **__: Any) -> None:
        raise broken

    process = worker(tiny, None)
    with monkeypatch.context() as illegal:
        illegal.setattr(loop, "run", fail)
        with pytest.raises(DeviceError, match=r"fails in this process \(RuntimeError: CUDA error"):
            process.run(trials, ["x"] * 5)
    monkeypatch.setattr(torch.cuda, "synchronize", fail)
    with pytest.raises(DeviceError):
        device.check(torch.device("cuda"), ValueError("of the trial"))
    device.check(torch.device("cpu"), ValueError("of the trial"))
