"""aa_ray.training.epoch: a run interrupted within an epoch ends like an undisturbed one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone
from aa_ray.core.engines import ADAPTERHUB, FUSED
from aa_ray.errors import TrainingError
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints, epoch, halving
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.loop import State
from aa_ray.training.outcome import Outcome
from aa_ray.training.random_encoders import without_dropout
from aa_ray.trial import Trial
from tests.training.test_checkpoints import Killed
from tests.training.test_loop import run_array

# 40 examples: ten steps, in blocks of 3, 3, 3 and 1.
BATCH_SIZE = 4

ARRAYS: list[list[dict[str, Any]]] = [
    [{"activation": "rational:one", "switched": True}],
    [{"inference_depths": (1,), "drop_range": "released"}],
    [
        {},
        {"learning_rate": 1e30},
        {"activation": "rational:one", "switched": True, "seed": 7},
        {"inference_depths": (0, 2)},
        {"activation": "rational:relu", "layers": (0, 2)},
    ],
]


@pytest.fixture
def bert(tiny: Backbone) -> PreTrainedModel:
    return freeze(model.load(tiny.path))


@pytest.fixture
def blocks() -> Iterator[None]:
    """Set blocks to three steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch, "STEPS", 3)
        yield


class MortalWithin(Checkpoint):
    """Raises after saving a state within an epoch; saves none between epochs."""

    saved = 0

    def due(self) -> bool:
        return False

    def due_within_epoch(self) -> bool:
        return True

    def save(self, state: State) -> None:
        super().save(state)
        type(self).saved += 1
        raise Killed


def check_same(one: list[Outcome | TrainingError], other: list[Outcome | TrainingError]) -> None:
    for outcome, expected in zip(one, other, strict=True):
        if isinstance(expected, TrainingError):
            assert str(outcome) == str(expected)
            continue
        assert isinstance(outcome, Outcome)
        assert outcome.history == expected.history
        for evaluation, of_other in zip(outcome.evaluations, expected.evaluations, strict=True):
            evaluation.test_seconds = of_other.test_seconds = 0.0
            assert evaluation == of_other


@pytest.mark.parametrize("engine", [FUSED, ADAPTERHUB])
@pytest.mark.parametrize("array", ARRAYS)
def test_killed_within_epochs_it_ends_as_if_undisturbed(
    bert: PreTrainedModel,
    make_trial: Callable[..., Trial],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    array: list[dict[str, Any]],
    engine: str,
) -> None:
    """All numbers agree, with dropout, noise and skipped layers."""
    trials = [make_trial(epochs=3, batch_size=BATCH_SIZE, **changes) for changes in array]
    undisturbed = run_array(bert, trials, engine)
    monkeypatch.setattr(epoch, "STEPS", 3)
    monkeypatch.setattr(MortalWithin, "saved", 0)
    folder = Folder(str(tmp_path))
    outcomes = None
    while outcomes is None:
        mortal = MortalWithin(folder, trials)
        try:
            outcomes = run_array(bert, trials, engine, resumed=mortal.load(), keeper=mortal)
        except Killed:
            torch.manual_seed(0)  # the process's random state is lost
    assert MortalWithin.saved == 9  # three times in each of three epochs
    check_same(outcomes, undisturbed)


@pytest.mark.usefixtures("blocks")
def test_a_state_within_an_epoch_comes_back(
    bert: PreTrainedModel, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = make_trial(epochs=2, batch_size=BATCH_SIZE)
    mortal = MortalWithin(Folder(str(tmp_path)), [trial])
    with pytest.raises(Killed):
        run_array(bert, [trial], keeper=mortal)
    state = mortal.load()
    assert state is not None and state.epoch == 0
    [trainer] = state.trainers
    assert len(trainer.losses) == 3 and trainer.optimizer[0]["step"] == 3
    whole = checkpoints.pack(state, [trial], {})
    older = whole.replace(b'"version":"6"', b'"version":"7"')
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.unpack(older, [trial])


@pytest.mark.usefixtures("blocks")
def test_halves_go_on_within_the_epoch(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    bert = without_dropout(freeze(model.load(tiny.path)))
    array: list[dict[str, Any]] = [{}, {"switched": True}, {"activation": "rational:one"}]
    trials = [make_trial(epochs=2, batch_size=BATCH_SIZE, **changes) for changes in array]
    undisturbed = dict(zip(trials, run_array(bert, trials), strict=True))
    folder = Folder(str(tmp_path))
    with pytest.raises(Killed):
        run_array(bert, trials, keeper=MortalWithin(folder, trials))
    for group in halving.halve(trials, folder):
        state = Checkpoint(folder, group).load()
        assert state is not None and {len(t.losses) for t in state.trainers} == {3}
        for trial, outcome in zip(group, run_array(bert, group, resumed=state), strict=True):
            expected = undisturbed[trial]
            assert isinstance(outcome, Outcome) and isinstance(expected, Outcome)
            for one, other in zip(outcome.history[1:], expected.history[1:], strict=True):
                assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)


def test_within_an_epoch_a_state_is_due_after_ten_minutes(
    make_trial: Callable[..., Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(checkpoints.clock, "monotonic", lambda: now[0])
    checkpoint = Checkpoint(Folder(str(tmp_path)), [make_trial()])
    assert checkpoint.due() and not checkpoint.due_within_epoch()
    now[0] += 601
    assert checkpoint.due_within_epoch()
    checkpoint.save(State([], {}, 0.0))
    assert not checkpoint.due_within_epoch()
    now[0] += 599
    assert not checkpoint.due_within_epoch()
    now[0] += 2
    assert checkpoint.due_within_epoch()


@pytest.mark.usefixtures("blocks")
def test_an_epoch_ends_early_when_no_trial_has_a_finite_loss(
    bert: PreTrainedModel, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is the same as at the epoch's end.

    The epoch continues while at least one trial has a finite loss.
    """
    bad = [make_trial(learning_rate=1e30, batch_size=BATCH_SIZE, seed=seed) for seed in (1, 2)]
    steps: list[int] = []
    original = epoch.losses

    def counted(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        return original(*arguments)

    monkeypatch.setattr(epoch, "losses", counted)
    late = run_array(bert, bad)
    assert len(steps) == 10
    monkeypatch.setattr(epoch, "STEPS_TO_LOOK", 3)
    early = run_array(bert, bad)
    assert len(steps) < 20 and list(map(str, early)) == list(map(str, late))
    assert all(isinstance(outcome, TrainingError) for outcome in early)
    steps.clear()
    run_array(bert, [*bad, make_trial(batch_size=BATCH_SIZE)])
    assert len(steps) == 10
