"""aa_ray.store.running: running trials as described by their checkpoints' headers."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

from aa_ray.store.running import running_trials
from aa_ray.store.storage import Folder
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.loop import State
from aa_ray.training.trainer import Best, Epoch, TrainerState
from aa_ray.trial import Trial


def trainer(losses: list[float], scores: list[dict[int, float]], error: str | None) -> TrainerState:
    """Return a trainer's state with this history."""
    epochs = [
        Epoch(number, loss, {depth: {"f1": score, "accuracy": 0.5} for depth, score in of.items()})
        for number, (loss, of) in enumerate(zip(losses, scores, strict=True), 1)
    ]
    return TrainerState(
        [Epoch(0), *epochs], {6: Best(1, 0.5, {"w": torch.zeros(3)})}, {"w": torch.ones(3)},
        {0: {"step": torch.ones(1)}}, torch.Generator().get_state(), error,
    )  # fmt: skip


def keep(folder: Folder, trials: list[Trial], trainers: list[TrainerState]) -> None:
    Checkpoint(folder, trials).save(State(trainers, {"cpu": torch.get_rng_state()}, 1.0))


def test_curves_of_every_trial_the_latest_first(
    tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    folder, clock = Folder(str(tmp_path)), 1_700_000_000
    single, pair = make_trial(seed=1), [make_trial(seed=2), make_trial(seed=3)]
    keep(folder, [single], [trainer([0.7, 0.6], [{6: 0.1}, {6: 0.4}], None)])
    of_pair = [trainer([0.5], [{2: 0.3, 6: 0.2}], None), trainer([0.9], [{}], "its loss is NaN")]
    keep(folder, pair, of_pair)

    for age, path in enumerate(sorted((tmp_path / "checkpoints").iterdir())):
        os.utime(path, (clock - 100 * age, clock - 100 * age))
    running = {r.trial.seed: r for r in running_trials(folder)}
    assert running[1].losses == (0.7, 0.6) and running[1].scores == (0.1, 0.4)
    assert running[1].epoch == 2 and running[1].error is None
    assert running[2].scores == (0.3,)  # the better of two inference depths
    assert running[3].scores == () and running[3].error == "its loss is NaN"
    ages = [r.age or 0.0 for r in running_trials(folder)]
    assert ages == sorted(ages) and ages[-1] - ages[0] > 90


def test_what_cannot_be_read_is_left_out(tmp_path: Path, make_trial: Callable[..., Trial]) -> None:
    folder = Folder(str(tmp_path))
    assert running_trials(folder) == []  # no folder of checkpoints yet
    keep(folder, [make_trial()], [trainer([0.5], [{6: 0.3}], None)])
    [whole] = (tmp_path / "checkpoints").iterdir()
    content = whole.read_bytes()
    damaged = {
        "empty": b"", "short": content[:40], "text": b"not a checkpoint, but long enough",
        "huge": b"\xff" * 64, "other": (2).to_bytes(8, "little") + b"{}",
        "list": (2).to_bytes(8, "little") + b"[]",
    }  # fmt: skip
    for name, bad in damaged.items():
        (tmp_path / "checkpoints" / f"{name}.safetensors").write_bytes(bad)
    assert [r.epoch for r in running_trials(folder)] == [1]


def test_of_many_checkpoints_those_asked_for_are_read(
    tmp_path: Path, make_trial: Callable[..., Trial]
) -> None:
    folder = Folder(str(tmp_path))
    trials = [make_trial(seed=seed) for seed in range(6)]
    for trial in trials:
        keep(folder, [trial], [trainer([0.5], [{6: 0.3}], None)])
    for trial in trials:
        [running] = running_trials(folder, {trial.id}, most=1)
        assert running.trial == trial
    assert len(running_trials(folder, most=4)) == 4 and len(running_trials(folder)) == 6
