"""Connects Ray Tune's event loop with the progress and the searcher."""

from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune.progress_reporter import TrialProgressCallback

from aa_ray.store import clock
from aa_ray.sweep.pulse import LOOK_SECONDS, PulseWatch
from aa_ray.sweep.searcher import QueueSearcher


class SweepCallback(TrialProgressCallback):
    """Updates the progress from Tune's event loop, and tells the searcher about dead workers.

    Replaces Tune's own progress display, which keeps every trial even if it prints nothing.

    Args:
        searcher: the sweep's searcher.
        watch: notices suspended workers.
    """

    def __init__(self, searcher: QueueSearcher, watch: PulseWatch) -> None:
        super().__init__()
        self._searcher = searcher
        self._watch = watch
        self._looked = clock.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called about ten times a second.

        Raises:
            RayError: no node is left, which Tune would not notice.
        """
        self._searcher.progress.update()
        if clock.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = clock.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                raise RayError("no node is left")
            for trial_id in self._watch.look(self._searcher.running_ids):
                self._searcher.on_silence(trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print nothing; the progress display shows finished trials."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._watch.forget(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._watch.forget(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.on_trial_death(trial.trial_id, error)
