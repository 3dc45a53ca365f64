"""Drops Tune's records of finished trials, so that a driver's memory stays flat.

Until a study ends, Tune keeps an object per trial: settings, the last result, running means of
every number in it, a reference to what its actor returned, and an empty folder. Together these take
about 36 kB of memory, and each of Tune's steps looks at all trials. Nothing here reads them again,
since the rows are the record.
"""

import os
from collections import deque
from contextlib import suppress
from typing import Any

# Trials that ended this recently are still whole, since Tune may be ending their actors.
RECENT = 100


class FinishedTrials:
    """Takes finished trials out of Tune's list."""

    def __init__(self) -> None:
        self._ended: list[Any] = []  # Tune is about to stop them
        self._recent: deque[Any] = deque()

    def add(self, trial: Any) -> None:
        """Note a trial that has ended."""
        self._ended.append(trial)

    def drop(self, trials: list[Any]) -> None:
        """Shrink the trials that Tune has stopped, and take them out of its list ``trials``.

        The first one stays there, since Tune reports an error if there is none.
        """
        stopped = [trial for trial in self._ended if trial.status == trial.TERMINATED]
        if not stopped:
            return
        self._ended = [trial for trial in self._ended if trial.status != trial.TERMINATED]
        first = trials[0]
        for trial in stopped:
            shrink(trial, like=first)
        gone = {id(trial) for trial in stopped if trial is not first}
        trials[:] = [trial for trial in trials if id(trial) not in gone]
        self._recent.extend(trial for trial in stopped if trial is not first)
        while len(self._recent) > RECENT:
            empty(self._recent.popleft())


def empty(trial: Any) -> None:
    """Drop all but the identity of a trial that is no longer in Tune's list.

    Tune's controller still holds the object, in a set of stopped trials.
    """
    kept = {"trial_id": trial.trial_id, "status": trial.status}
    vars(trial).clear()
    vars(trial).update(kept)


def shrink(trial: Any, like: Any) -> None:
    """Drop what a finished trial of Tune holds.

    Args:
        trial: a ``ray.tune.experiment.Trial`` that Tune has stopped.
        like: another trial with the same resources, whose request for them is shared.
    """
    with suppress(OSError, ValueError):  # there is none, or another library has used it
        os.rmdir(trial.storage.trial_driver_staging_path)
    metadata = trial.run_metadata
    metadata.last_result = {"done": True}  # if it were empty, Tune would ask the actor for one
    metadata.metric_analysis = {}
    metadata.metric_n_steps = {}
    metadata.invalidate_cache()
    trial._default_result_or_future = None
    trial.config = {}
    trial._Trial__unresolved_config = {}
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.placement_group_factory = like.placement_group_factory
    trial._default_placement_group_factory = like._default_placement_group_factory
    trial.storage = like.storage
    trial.invalidate_json_state()
