"""The progress of running trials, which have no row yet, from the headers of their checkpoints.

A checkpoint's header contains the learning curve, so progress needs no other file.
``aa_ray.training.checkpoints`` writes the checkpoints.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aa_ray.errors import StorageError
from aa_ray.store import clock
from aa_ray.store.storage import Folder
from aa_ray.trial import Trial

# A longer header is not one of this program's.
MOST_BYTES = 64_000_000


@dataclass(frozen=True)
class RunningTrial:
    """The state of a trial according to its checkpoint.

    Attributes:
        trial: the trial.
        losses: mean training loss of each epoch so far.
        scores: development score of each epoch so far in the task's first metric, the best over
            inference depths.
        error: why it ended early; None while it is running.
        age: seconds since the checkpoint was written; None if the clock does not tell.
    """

    trial: Trial
    losses: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    error: str | None = None
    age: float | None = None

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return len(self.losses)


def running_trials(
    folder: Folder, first: Collection[str] = (), most: int | None = None
) -> list[RunningTrial]:
    """The trials with a checkpoint in the folder, most recent first.

    Checkpoints that cannot be read, or disappear meanwhile, are skipped. Checksums are not
    verified, since this is only for display.

    Args:
        first: ids of trials whose checkpoints are read first.
        most: maximum number of checkpoints to read; default all.

    Raises:
        StorageError: the folder cannot be read.
    """
    wanted = {f"{trial_id}.safetensors" for trial_id in first}
    names = sorted(folder.names("checkpoints"), key=lambda name: name not in wanted)[:most]
    trials = [trial for name in names for trial in _of_checkpoint(folder, f"checkpoints/{name}")]
    return sorted(trials, key=lambda running: (running.age is None, running.age or 0.0))


def _of_checkpoint(folder: Folder, path: str) -> list[RunningTrial]:
    try:
        header = _header(folder, path)
        trials = [Trial.from_json(text) for text in json.loads(header["trials"])]
        written = folder.modified(path)
        age = None if written is None else max(0.0, clock.wall() - written)
        states = json.loads(header["trainers"])
        return [_running(*pair, age) for pair in zip(trials, states, strict=True)]
    except (OSError, StorageError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _header(folder: Folder, path: str) -> Mapping[str, str]:
    """The metadata of a safetensors file, whose header follows its length."""
    size = int.from_bytes(folder.read_part(path, 0, 8), "little")
    if size > MOST_BYTES:
        raise ValueError(f"a header of {size} bytes")
    metadata: Mapping[str, str] = json.loads(folder.read_part(path, 8, size))["__metadata__"]
    return metadata


def _running(trial: Trial, state: Mapping[str, Any], age: float | None) -> RunningTrial:
    epochs = [epoch for epoch in state["history"] if epoch["train_loss"] is not None]
    return RunningTrial(
        trial,
        losses=tuple(float(epoch["train_loss"]) for epoch in epochs),
        scores=tuple(_score(epoch["development"]) for epoch in epochs if epoch["development"]),
        error=state["error"],
        age=age,
    )


def _score(development: Mapping[str, Mapping[str, float]]) -> float:
    return max(next(iter(scores.values())) for scores in development.values())
