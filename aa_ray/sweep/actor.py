"""The actor in which Ray Tune runs arrays of trials.

Starting one has to be quick: Tune lets a waiting trial have the next actor that comes free, and
ends the one that was being started for it. Where starting takes longer than a trial, slots would
stay empty for ever. So an actor starts without torch and transformers, and imports them with its
first array. For that this module imports nothing of aa_ray above its functions, and its classes
travel to the workers as they are rather than by name.
"""

import json
import sys
from typing import Any

from ray import cloudpickle, tune

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class TrialActor(tune.Trainable):
    """A Tune trial is one array; the actor keeps its Worker, with the backbone, for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._worker: Any = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._setting = json.loads(config["setting"])
        self._job = json.loads(config["job"])

    def step(self) -> dict[str, Any]:
        """Run the trials, write their rows, report what the queue needs of one of each."""
        from aa_ray.errors import StorageError, SweepError
        from aa_ray.store.rows import Store
        from aa_ray.study.queue import QUEUE_COLUMNS
        from aa_ray.training import checkpoints, watchdog
        from aa_ray.trial import Trial

        store = Store(self._setting["results"])
        trials = [Trial.from_json(trial) for trial in self._job["trials"]]
        if self._worker is None:
            self._worker = _worker(self._setting, store.folder)
        watchdog.arm(self._setting["stall_seconds"])
        try:
            every = self._worker.run(trials, self._job["methods"])
            wanted = [rows for rows in every if rows[0]["trial_id"] in self._job["wanted"]]
            for rows in wanted:
                store.write(rows)
            store.folder.delete(checkpoints.path(trials))
        except (StorageError, SweepError) as error:
            return {"stop": str(error), "done": True}
        finally:
            watchdog.disarm()
        reported = [{column: rows[0].get(column) for column in QUEUE_COLUMNS} for rows in wanted]
        return {"rows": json.dumps(reported), "remarks": self._worker.remarks, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune is told to ask for none; the worker keeps its own, in the results folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The worker finds the trial's checkpoint in the results folder."""


def _worker(setting: dict[str, Any], folder: Any) -> Any:
    """The process's Worker, with its copy of the backbone."""
    import torch

    from aa_ray.core.backbones import Backbone
    from aa_ray.data.glue import Source
    from aa_ray.study import plugins
    from aa_ray.training.worker import Worker

    torch.set_num_threads(setting["threads"])
    plugins.restore(setting["own"])
    return Worker(
        Backbone(**setting["backbone"]),
        Source(setting["source"]),
        tuple(setting["commit"]),
        folder,
    )
