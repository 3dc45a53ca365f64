"""What an interrupted trial goes on from: one safetensors file per trial, written after epochs.

No pickle: tensors (weights, Adam's moments, best epochs, random state) are safetensors, all else is
JSON in that file's header. So a file from elsewhere can be wrong but cannot run code.
"""

import dataclasses
import json
import math
import time
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aa_ray.storage import Folder
from aa_ray.training import Best, Epoch, State
from aa_ray.trial import Trial

VERSION = "1"

# An epoch is not written while writing would take more than this share of the time.
MOST_TIME = 0.1


class CheckpointError(Exception):
    """A checkpoint does not load; the message says why."""


def pack(state: State, trial: Trial, extra: dict[str, Any]) -> bytes:
    """The state as the bytes of a safetensors file; ``extra`` is JSON that comes back with it."""
    tensors = {f"weights/{name}": value for name, value in state.weights.items()}
    for depth, best in state.best.items():
        tensors |= {f"best/{depth}/{name}": value for name, value in best.weights.items()}
    for index, moments in state.optimizer.items():
        tensors |= {f"adam/{index}/{name}": value for name, value in moments.items()}
    tensors |= {f"random/{name}": value for name, value in state.random.items()}
    header = {
        "version": VERSION,
        "trial": trial.to_json(),
        "history": json.dumps([dataclasses.asdict(epoch) for epoch in state.history]),
        "best": json.dumps(
            {d: {"epoch": b.epoch, "score": b.score} for d, b in state.best.items()}
        ),
        "seconds": json.dumps(state.seconds),
        "extra": json.dumps(extra),
    }
    return save({name: t.contiguous().cpu() for name, t in tensors.items()}, header)


def unpack(content: bytes, trial: Trial) -> tuple[State, dict[str, Any]]:
    """What ``pack`` was given.

    Raises:
        CheckpointError: not a whole file of this version, or of another trial.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])["__metadata__"]
        if header["version"] != VERSION or header["trial"] != trial.to_json():
            raise CheckpointError("it is of another version or trial")
        best = {
            int(depth): Best(**of_depth, weights=_under(f"best/{depth}/", tensors))
            for depth, of_depth in json.loads(header["best"]).items()
        }
        state = State(
            history=[_epoch(fields) for fields in json.loads(header["history"])],
            best=best,
            weights=_under("weights/", tensors),
            optimizer=_moments(_under("adam/", tensors)),
            random=_under("random/", tensors),
            seconds=json.loads(header["seconds"]),
        )
        return state, json.loads(header["extra"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(" ".join(str(error).split())) from error


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, moment = name.split("/")
        found.setdefault(int(index), {})[moment] = value
    return found


def _epoch(fields: dict[str, Any]) -> Epoch:
    """JSON knows only text as keys; an epoch's are layers and depths."""
    for name in ("development", "logits", "numerators", "denominators"):
        fields[name] = {int(key): value for key, value in fields[name].items()}
    return Epoch(**fields)


class Checkpoint:
    """The place of one trial's checkpoint in the results folder; a ``training.Keeper``.

    Args:
        folder: the results folder.
        trial: whose it is.
        extra: JSON that comes back with the state: who has worked on the trial so far.
    """

    def __init__(self, folder: Folder, trial: Trial) -> None:
        self._folder = folder
        self._trial = trial
        self._written = -math.inf  # when the last was, and how long it took
        self._took = 0.0
        self.extra: dict[str, Any] = {}

    def load(self) -> State | None:
        """The last state that was kept, and with it ``extra``; None where there is none.

        Raises:
            CheckpointError: there is one and it does not load.
        """
        try:
            content = self._folder.read(path(self._trial.id))
        except FileNotFoundError:
            return None
        state, self.extra = unpack(content, self._trial)
        return state

    def due(self) -> bool:
        """Whether writing takes little enough of the time."""
        return self._took <= MOST_TIME * (time.monotonic() - self._written)

    def save(self, state: State) -> None:
        """Keep the state in place of the last one.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        started = time.monotonic()
        self._folder.write(path(self._trial.id), pack(state, self._trial, self.extra))
        self._written = time.monotonic()
        self._took = self._written - started

    def delete(self) -> None:
        """The trial has its rows."""
        self._folder.delete(path(self._trial.id))


def path(trial_id: str) -> str:
    """Where a trial's checkpoint lies in the results folder."""
    return f"checkpoints/{trial_id}.safetensors"
