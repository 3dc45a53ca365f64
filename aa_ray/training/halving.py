"""Splits a group of trials that does not fit into a GPU's memory into halves, repeatedly.

Both halves continue from the group's last checkpoint. Each gets its own checkpoint before the
group's is removed. So a process that dies in between loses nothing, and its successor sees from the
files that the group has been halved.
"""

from collections.abc import Sequence

from aa_ray.errors import CheckpointError
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.context import sort_key
from aa_ray.training.loop import State
from aa_ray.trial import Trial


def memory_key(trial: Trial) -> tuple[str, str]:
    """The task and precision, which determine a trial's memory within a study."""
    return trial.task, trial.precision


def remark(trials: Sequence[Trial], device: str) -> str:
    """The message to the user about trials that need too much memory."""
    return (
        f"{trials[0].task} {trials[0].regime}: the memory of {device} is not enough for "
        f"{len(trials)} trials side by side; they continue as two groups"
    )


def halves(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Two groups, in the order of training, in which adjacent trials are most similar."""
    ordered = sorted(trials, key=sort_key)
    middle = (len(ordered) + 1) // 2
    return [ordered[:middle], ordered[middle:]]


def halve(trials: Sequence[Trial], folder: Folder | None) -> list[list[Trial]]:
    """Halve a group that has run out of memory; each half gets its part of the checkpoint.

    Raises:
        StorageError: the checkpoints cannot be written.
    """
    groups = halves(trials)
    if folder is None:
        return groups
    whole = Checkpoint(folder, trials)
    try:
        state = whole.load()
    except CheckpointError:
        state = None
    if state is not None:
        for group in groups:
            keep = Checkpoint(folder, group)
            keep.extra = whole.extra
            keep.save(_part(state, trials, group))
    folder.delete(checkpoints.path(trials))
    return groups


def _part(state: State, trials: Sequence[Trial], group: Sequence[Trial]) -> State:
    """The state of some of the trials, with their share of the seconds spent so far."""
    of_trials = {trial.id: of for trial, of in zip(trials, state.trainers, strict=True)}
    seconds = state.seconds * len(group) / len(trials)
    return State([of_trials[trial.id] for trial in group], state.random, seconds)


def begun(trials: Sequence[Trial], folder: Folder | None) -> list[list[Trial]]:
    """The groups in which an earlier attempt trained these trials, according to its checkpoints."""
    if folder is None or len(trials) == 1:
        return [list(trials)]
    names = {f"checkpoints/{name}" for name in folder.names("checkpoints")}
    return _begun(list(trials), names) or [list(trials)]


def _begun(trials: list[Trial], names: set[str]) -> list[list[Trial]]:
    """The groups of ``begun``; empty if none of the trials has a checkpoint."""
    if checkpoints.path(trials) in names:
        return [trials]
    if len(trials) == 1:
        return []
    parts = [(_begun(half, names), half) for half in halves(trials)]
    if not any(groups for groups, _ in parts):
        return []
    return [group for groups, half in parts for group in groups or [half]]
