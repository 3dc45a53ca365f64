"""Takes what is over out of Tune's records, so that a driver's memory stays flat.

Until a study ends, Tune keeps an object per trial: settings, the last result, running means of
every number in it, a reference to what its actor returned, and an empty folder. Together these take
about 36 kB of memory, and each of Tune's steps looks at all trials. Nothing here reads them again,
since the rows are the record.

Tune also requests an actor for a trial that then gets one that has become free. It cancels the
request but keeps the call that would have stopped the actor.
"""

import os
from contextlib import suppress
from typing import Any

from ray.tune.schedulers import FIFOScheduler

# Sets of Tune's controller that contain finished trials.
SETS = ("_stopped_trials", "_trials_to_cache")


class FinishedTrials(FIFOScheduler):
    """Tune's own scheduler, first in, first out, which also drops what has finished."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[Any] = []  # Tune is about to stop them

    def on_trial_complete(
        self, tune_controller: Any, trial: Any, result: dict[str, Any] | None
    ) -> None:
        self._ended.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called at each of Tune's steps."""
        # Tune shows schedulers only a part of its controller. Another version of Tune may name its
        # records differently; they are then kept.
        controller = getattr(tune_controller, "_tune_controller", tune_controller)
        with suppress(AttributeError):
            self._drop(controller)
            drop_cancelled(controller._actor_manager)
        return super().choose_trial_to_run(tune_controller)

    def _drop(self, controller: Any) -> None:
        """Forget the trials that Tune has stopped.

        The first one stays in Tune's list, since Tune reports an error if there is none.
        """
        stopped = [trial for trial in self._ended if trial.status == trial.TERMINATED]
        if not stopped:
            return
        self._ended = [trial for trial in self._ended if trial.status != trial.TERMINATED]
        for trial in stopped:
            with suppress(OSError, ValueError):  # there is none, or another library has used it
                os.rmdir(trial.storage.trial_driver_staging_path)
        trials = controller._trials
        dropped = {trial for trial in stopped if trial is not trials[0]}
        trials[:] = [trial for trial in trials if trial not in dropped]
        for name in SETS:
            getattr(controller, name).difference_update(dropped)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune pickles a copy to restore a run, which is never done here."""
        return {}


def drop_cancelled(manager: Any) -> None:
    """Forget calls of actors whose request was cancelled.

    Args:
        manager: a ``RayActorManager``.
    """
    calls = manager._pending_actors_to_enqueued_actor_tasks
    for actor in calls.keys() - manager._pending_actors_to_attrs.keys():
        del calls[actor]
