"""Connects Ray Tune's event loop with the progress and the searcher."""

from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError

from aa_ray.store import clock
from aa_ray.sweep.finished import FinishedTrials
from aa_ray.sweep.pulse import LOOK_SECONDS, PulseWatch
from aa_ray.sweep.searcher import QueueSearcher


class SweepCallback(tune.Callback):
    """Updates the progress from Tune's event loop, and tells the searcher about dead workers.

    Args:
        searcher: the sweep's searcher.
        watch: notices suspended workers.
    """

    def __init__(self, searcher: QueueSearcher, watch: PulseWatch) -> None:
        self._searcher = searcher
        self._watch = watch
        self._looked = clock.monotonic()
        self._finished = FinishedTrials()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called about ten times a second.

        Raises:
            RayError: no node is left, which Tune would not notice.
        """
        self._searcher.progress.update()
        self._finished.drop(trials)
        if clock.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = clock.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                raise RayError("no node is left")
            for trial_id in self._watch.look(self._searcher.running_ids):
                self._searcher.on_silence(trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._finished.add(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.on_trial_death(trial.trial_id, error)
