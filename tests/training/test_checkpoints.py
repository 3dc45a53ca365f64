"""aa_ray.training.checkpoints: an interrupted training run ends like an undisturbed one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.errors import CheckpointError, TrainingError
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.loop import State
from aa_ray.training.outcome import Outcome
from aa_ray.trial import Trial
from tests.training.test_loop import ARCHITECTURES, run_array, run_one


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def train(
    bert: BertForSequenceClassification, trial: Trial, checkpoint: Checkpoint | None = None
) -> Outcome:
    state = checkpoint.load() if checkpoint else None
    return run_one(bert, trial, resumed=state, keeper=checkpoint)


class Killed(Exception):
    """Simulates the end of the process."""


class Mortal(Checkpoint):
    """Raises after saving the state of one epoch."""

    def due(self) -> bool:
        return True

    def save(self, state: State) -> None:
        super().save(state)
        raise Killed


@pytest.mark.parametrize(
    "changes", [*ARCHITECTURES, {"inference_depths": (1,), "drop_range": "released"}]
)
def test_killed_after_every_epoch_it_ends_as_if_undisturbed(
    bert: BertForSequenceClassification,
    folder: Folder,
    make_trial: Callable[..., Trial],
    changes: dict[str, Any],
) -> None:
    trial = make_trial(epochs=4, learning_rate=5e-3, batch_size=16, **changes)
    undisturbed = train(bert, trial)
    for _ in range(4):
        with pytest.raises(Killed):
            train(bert, trial, Mortal(folder, [trial]))
        train(bert, make_trial(seed=7))  # leaves its traces in model and generator
    resumed = train(bert, trial, Checkpoint(folder, [trial]))
    assert resumed.history == undisturbed.history
    for evaluation, expected in zip(resumed.evaluations, undisturbed.evaluations, strict=True):
        evaluation.test_seconds = expected.test_seconds = 0.0
        assert evaluation == expected


def state_of(bert: BertForSequenceClassification, folder: Folder, trial: Trial) -> bytes:
    with pytest.raises(Killed):
        train(bert, trial, Mortal(folder, [trial]))
    return folder.read(checkpoints.path([trial]))


def test_everything_comes_back(
    bert: BertForSequenceClassification, folder: Folder, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", switched=True)
    state, extra = checkpoints.unpack(state_of(bert, folder, trial), [trial])
    assert extra == {} and state.epoch == 1
    again, _ = checkpoints.unpack(checkpoints.pack(state, [trial], {"a": [1]}), [trial])
    assert again.seconds == state.seconds
    [before], [after] = state.trainers, again.trainers
    assert after.history == before.history and after.error is None
    for name, value in before.weights.items():
        assert torch.equal(after.weights[name], value)
    assert set(before.optimizer) == set(range(len(before.weights)))
    assert set(before.best) == {3} and before.best[3].epoch == 1
    assert torch.equal(again.random["cpu"], state.random["cpu"])


def test_an_array_goes_on_as_one_with_a_trial_that_has_failed(
    bert: BertForSequenceClassification, folder: Folder, make_trial: Callable[..., Trial]
) -> None:
    trials = [make_trial(epochs=4, **changes) for changes in ARCHITECTURES]
    trials.insert(1, make_trial(epochs=4, learning_rate=1e30))
    undisturbed = run_array(bert, trials)
    for _ in range(3):
        mortal = Mortal(folder, trials)
        with pytest.raises(Killed):
            run_array(bert, trials, resumed=mortal.load(), keeper=mortal)
    assert checkpoints.interrupted_groups(folder, {trials[0].id}) == [trials]
    resumed = run_array(bert, trials, resumed=Checkpoint(folder, trials).load())
    for one, other in zip(resumed, undisturbed, strict=True):
        if isinstance(one, TrainingError):
            assert str(one) == str(other)
        else:
            assert isinstance(other, Outcome) and one.history == other.history
            assert [e.test for e in one.evaluations] == [e.test for e in other.evaluations]
    assert sum(isinstance(outcome, TrainingError) for outcome in resumed) == 1
    assert checkpoints.interrupted_groups(folder, {trial.id for trial in trials}) == []
    assert folder.names("checkpoints") == []


@pytest.mark.parametrize("damage", ["empty", "half", "header", "noise", "other trial"])
def test_what_does_not_load_is_an_error_of_its_own(
    bert: BertForSequenceClassification,
    folder: Folder,
    make_trial: Callable[..., Trial],
    damage: str,
) -> None:
    trial = make_trial()
    whole = state_of(bert, folder, trial)
    broken = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "header": whole.replace(b'"trainers"', b'"frainers"'),
        "noise": b"\xff" * 500,
        "other trial": whole,
    }[damage]
    other = make_trial(seed=7) if damage == "other trial" else trial
    folder.write(checkpoints.path([other]), broken)
    with pytest.raises(CheckpointError, match=r"\w"):
        Checkpoint(folder, [other]).load()


def test_no_flipped_bit_goes_unnoticed(
    bert: BertForSequenceClassification, folder: Folder, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial()
    whole = state_of(bert, folder, trial)
    checkpoints.unpack(whole, [trial])

    @settings(max_examples=300)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def check(position: int, bit: int) -> None:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        with pytest.raises(CheckpointError):
            checkpoints.unpack(bytes(damaged), [trial])

    check()


def test_there_may_be_none(folder: Folder, make_trial: Callable[..., Trial]) -> None:
    checkpoint = Checkpoint(folder, [make_trial()])
    assert checkpoint.load() is None


def test_writing_takes_a_small_part_of_the_time(
    bert: BertForSequenceClassification,
    folder: Folder,
    make_trial: Callable[..., Trial],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = make_trial()
    state, _ = checkpoints.unpack(state_of(bert, folder, trial), [trial])
    now = [0.0]
    monkeypatch.setattr(checkpoints.clock, "monotonic", lambda: now[0])
    write = folder.write

    def slow(path: str, content: bytes) -> None:
        now[0] += 2
        write(path, content)

    monkeypatch.setattr(folder, "write", slow)
    checkpoint = Checkpoint(folder, [trial])
    assert checkpoint.due()  # the first epoch is saved at once
    checkpoint.save(state)
    now[0] += 19
    assert not checkpoint.due()
    now[0] += 2
    assert checkpoint.due()
