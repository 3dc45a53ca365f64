"""Checkpoints of interrupted trials: one safetensors file per group, written after epochs.

If an epoch takes longer than ten minutes, checkpoints are also written within it.

No pickle is used. Tensors (weights, Adam's moments, best epochs, random state) are stored as
safetensors, and everything else as JSON in the file's header. So a file from elsewhere can be wrong
but cannot run code. A checksum in the header covers all bytes of the file, since a single flipped
bit would let a trial continue with wrong weights unnoticed.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aa_ray.errors import CheckpointError
from aa_ray.store import clock
from aa_ray.store.storage import Folder
from aa_ray.training.context import KINDS
from aa_ray.training.loop import State
from aa_ray.training.trainer import Best, Epoch, TrainerState
from aa_ray.trial import Trial

# 3: with a checksum; 4: switches are named as parts of their adapters; 5: trainers in the order of
# the trials; 6: possibly within an epoch.
VERSION = "6"
READABLE = ("4", "5", VERSION)

# Placeholder in the header while the checksum is computed.
_UNSIGNED = "0" * 64

# Checkpoints are written so rarely that writing takes at most this share of the time.
MOST_TIME = 0.1

# Minimum seconds between two checkpoints within an epoch.
SECONDS_WITHIN_EPOCH = 600.0


def pack(state: State, trials: Sequence[Trial], extra: dict[str, Any]) -> bytes:
    """The state as the bytes of a safetensors file; ``extra`` is JSON to be stored with it."""
    tensors = {f"random/{name}": value for name, value in state.random.items()}
    trainers = []
    for k, trainer in enumerate(state.trainers):
        tensors |= {f"{k}/weights/{name}": value for name, value in trainer.weights.items()}
        for depth, best in trainer.best.items():
            tensors |= {f"{k}/best/{depth}/{name}": v for name, v in best.weights.items()}
        for index, moments in trainer.optimizer.items():
            tensors |= {f"{k}/adam/{index}/{name}": v for name, v in moments.items()}
        tensors[f"{k}/generator"] = trainer.generator
        if trainer.losses:
            tensors[f"{k}/losses"] = torch.tensor(trainer.losses, dtype=torch.float64)
        best_epochs = {d: {"epoch": b.epoch, "score": b.score} for d, b in trainer.best.items()}
        history = [dataclasses.asdict(epoch) for epoch in trainer.history]
        trainers.append({"history": history, "best": best_epochs, "error": trainer.error})
    header = {
        "version": VERSION,
        "trials": json.dumps([trial.to_json() for trial in trials]),
        "trainers": json.dumps(trainers),
        "seconds": json.dumps(state.seconds),
        "extra": json.dumps(extra),
        "sha256": _UNSIGNED,
    }
    unsigned = save({name: t.contiguous().cpu() for name, t in tensors.items()}, header)
    return _sealed(unsigned, hashlib.sha256(unsigned).hexdigest())


def _sealed(content: bytes, checksum: str) -> bytes:
    """The file with this checksum in its header; safetensors writes ``"sha256":"..."``.

    Raises:
        CheckpointError: the header has no checksum.
    """
    match = re.search(rb'"sha256":"([0-9a-f]{64})"', content[: 8 + _header_size(content)])
    if match is None:
        raise CheckpointError("it has no checksum")
    start, stop = match.span(1)
    return b"".join([content[:start], checksum.encode(), content[stop:]])


def unpack(content: bytes, trials: Sequence[Trial]) -> tuple[State, dict[str, Any]]:
    """State and ``extra``, as they were given to ``pack``.

    Raises:
        CheckpointError: the file is incomplete or damaged, or belongs to another version or other
            trials.
    """
    try:
        _check(content)
        tensors = load(content)
        header = _header(content)
        expected = json.dumps([trial.to_json() for trial in trials])
        if header["version"] not in READABLE or header["trials"] != expected:
            raise CheckpointError("it belongs to another version or other trials")
        trainers = [
            _trainer(fields, _under(f"{k}/", tensors))
            for k, fields in enumerate(json.loads(header["trainers"]))
        ]
        if header["version"] == "4":
            trainers = _in_order(trainers, trials)
        random = _under("random/", tensors)
        state = State(trainers, random, json.loads(header["seconds"]))
        return state, json.loads(header["extra"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(" ".join(str(error).split())) from error


def _in_order(trainers: list[TrainerState], trials: Sequence[Trial]) -> list[TrainerState]:
    """The trainers of a file of version 4, which sorts them by type of trial."""
    by_kind = sorted(
        range(len(trials)), key=lambda k: KINDS.index((trials[k].rational, trials[k].switched))
    )
    of_trials = dict(zip(by_kind, trainers, strict=True))
    return [of_trials[k] for k in range(len(trials))]


def _check(content: bytes) -> None:
    """Raise CheckpointError if a byte of the file has changed since it was written."""
    if hashlib.sha256(_sealed(content, _UNSIGNED)).hexdigest() != _header(content)["sha256"]:
        raise CheckpointError("it is damaged: its checksum does not match its content")


def _header(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + _header_size(content)])["__metadata__"]


def _header_size(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _trainer(fields: dict[str, Any], tensors: dict[str, Tensor]) -> TrainerState:
    best = {
        int(depth): Best(**of_depth, weights=_under(f"best/{depth}/", tensors))
        for depth, of_depth in fields["best"].items()
    }
    return TrainerState(
        history=[_epoch(entry) for entry in fields["history"]],
        best=best,
        weights=_under("weights/", tensors),
        optimizer=_moments(_under("adam/", tensors)),
        generator=tensors["generator"],
        error=fields["error"],
        losses=tensors["losses"].tolist() if "losses" in tensors else [],
    )


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, moment = name.split("/")
        found.setdefault(int(index), {})[moment] = value
    return found


def _epoch(fields: dict[str, Any]) -> Epoch:
    """An epoch from JSON, which has turned its integer keys (layers and depths) into text."""
    for name in ("development", "logits", "numerators", "denominators"):
        fields[name] = {int(key): value for key, value in fields[name].items()}
    return Epoch(**fields)


class Checkpoint:
    """One group's checkpoint in the results folder; a ``loop.Keeper``.

    Args:
        folder: the results folder.
        trials: the trials of the group, which train side by side.
        seconds: minimum time between two states within an epoch.

    Attributes:
        extra: JSON stored with the state: which hosts have worked on the trials so far.
    """

    def __init__(
        self, folder: Folder, trials: Sequence[Trial], seconds: float = SECONDS_WITHIN_EPOCH
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._begun = clock.monotonic()
        self._trials = trials
        self._path = path(trials)
        self._written = -math.inf  # when the last one was written, and how long that took
        self._took = 0.0
        self.extra: dict[str, Any] = {}

    def load(self) -> State | None:
        """Load the last saved state, and ``extra``; None if there is none.

        Raises:
            CheckpointError: it exists and cannot be loaded.
        """
        try:
            content = self._folder.read(self._path)
        except FileNotFoundError:
            return None
        state, self.extra = unpack(content, self._trials)
        return state

    def due(self) -> bool:
        """Whether writing now keeps the cost of checkpoints low enough."""
        return self._took <= MOST_TIME * (clock.monotonic() - self._written)

    def due_within_epoch(self) -> bool:
        """Whether ``due`` holds and the last state was written long ago."""
        since = max(self._begun, self._written)
        return clock.monotonic() - since >= self._seconds and self.due()

    def save(self, state: State) -> None:
        """Save the state, replacing the last one.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        started = clock.monotonic()
        self._folder.write(self._path, pack(state, self._trials, self.extra))
        self._written = clock.monotonic()
        self._took = self._written - started


def path(trials: Sequence[Trial]) -> str:
    """Path of a group's checkpoint in the results folder."""
    return f"checkpoints/{group_id(trials)}.safetensors"


def group_id(trials: Sequence[Trial]) -> str:
    """The id of a single trial, else a hash of the ids."""
    ids = [trial.id for trial in trials]
    return ids[0] if len(ids) == 1 else hashlib.sha256(" ".join(ids).encode()).hexdigest()[:20]


def interrupted_groups(
    folder: Folder, finished: set[str], damaged_too: bool = False
) -> list[list[Trial]]:
    """The trials of each checkpoint in the results folder, which have to continue together.

    Checkpoints whose trials are all finished are removed.

    Args:
        damaged_too: also remove checkpoints that cannot be loaded, whatever trials they belong to.

    Raises:
        StorageError: the results folder cannot be used.
    """
    groups = []
    for name in folder.names("checkpoints"):
        path = f"checkpoints/{name}"
        try:
            trials = _trials(folder.read(path))
        except FileNotFoundError:
            continue
        if trials is None:  # the run of its trial will report the damage
            over = damaged_too or name.removesuffix(".safetensors") in finished
        else:
            over = all(trial.id in finished for trial in trials)
        if over:
            folder.delete(path)
        elif trials is not None:
            groups.append(trials)
    return groups


def _trials(content: bytes) -> list[Trial] | None:
    """The trials of a checkpoint; None if it cannot be loaded."""
    try:
        _check(content)
        return [Trial.from_json(text) for text in json.loads(_header(content)["trials"])]
    except (CheckpointError, ValueError, KeyError, TypeError):
        return None
