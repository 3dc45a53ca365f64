"""Ray Tune runs a study. The only module that imports ray.

One Tuner per run; a searcher that hands out the next trial whose dependencies have rows; reused
actors that keep the backbone. The Parquet rows, not Tune's own folder, are the record of what is
finished: an actor writes a trial's rows before it reports.
"""

import json
import logging
import os
import socket
import tempfile
import urllib.parse
from dataclasses import asdict
from typing import Any

# Tune's own console output and loggers, its signal handler (a first Ctrl-C should end the run),
# and a warning about an unreadable GPU setting; all must be set before ray is imported.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from aa_ray import provenance
from aa_ray.backbones import Backbone
from aa_ray.data import Source
from aa_ray.errors import UsageError
from aa_ray.progress import Progress
from aa_ray.resources import Resources
from aa_ray.results import Row, Store
from aa_ray.study import AGENDA_COLUMNS, Agenda
from aa_ray.trial import Trial

# A worker process that dies takes its trial along; the trial is tried again this often.
RETRIES_AFTER_DEATH = 2


def run(agenda: Agenda, store: Store, resources: Resources) -> None:
    """Run whatever the agenda has left; afterwards it says what became of it.

    Raises:
        UsageError: the cluster cannot be reached or is too small for a trial.
    """
    _start_ray(resources.address)
    try:
        slots = resources.slots(ray.cluster_resources())
        study = agenda.study
        setting = {
            "backbone": asdict(study.backbone),
            "source": asdict(study.source),
            "results": store.uri,
            "commit": provenance.commit(),
            "threads": resources.cpus_per_trial,
        }
        progress = Progress(agenda, slots)
        with tempfile.TemporaryDirectory(prefix="aa_ray_tune_") as folder:
            tuner = tune.Tuner(
                tune.with_resources(
                    TrialActor,
                    {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
                ),
                param_space={"setting": json.dumps(setting)},
                tune_config=tune.TuneConfig(
                    search_alg=AgendaSearcher(agenda, store, progress),
                    num_samples=-1,  # until the searcher says that it has finished
                    max_concurrent_trials=slots,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=RETRIES_AFTER_DEATH),
                    callbacks=[ProgressCallback(progress)],
                ),
            )
            tuner.fit()
        progress.close()
    finally:
        ray.shutdown()


def _start_ray(address: str | None) -> None:
    if address is not None and address != "auto":
        _check_that_somebody_listens(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address=address or "local",  # never a cluster that happens to run here
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = (
            f"--address {address}: no Ray cluster answers; if it asks for a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here as there"
            if address
            else "Ray did not start"
        )
        raise UsageError(f"{where} ({str(error).splitlines()[0]})") from error


def _check_that_somebody_listens(address: str) -> None:
    """Ray itself would try an address for minutes."""
    parts = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    try:
        if parts.hostname is None or parts.port is None:
            raise ValueError("expected host:port, ray://host:port or auto")
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"--address {address}: no Ray cluster answers ({error})") from error


class TrialActor(tune.Trainable):
    """A Tune trial is one training; the actor keeps its Worker, with the backbone, for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._worker: Any = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._setting = json.loads(config["setting"])
        job = json.loads(config["job"])
        self._trial, self._method = Trial.from_json(job["trial"]), job["method"]

    def step(self) -> dict[str, Any]:
        """Run the trial, write its rows, report what the agenda needs of one of them."""
        import torch

        from aa_ray.worker import Worker

        if self._worker is None:
            torch.set_num_threads(self._setting["threads"])
            self._worker = Worker(
                Backbone(**self._setting["backbone"]),
                Source(**self._setting["source"]),
                tuple(self._setting["commit"]),
            )
        rows = self._worker.run(self._trial, self._method)
        Store(self._setting["results"]).write(rows)
        return {"row": json.dumps({c: rows[0].get(c) for c in AGENDA_COLUMNS}), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune asks for one when a trial ends; the rows are all there is to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """There is nothing to load: an interrupted trial starts anew."""


class AgendaSearcher(Searcher):
    """Hands Tune the agenda's runnable trials, and tells the agenda how they ended."""

    def __init__(self, agenda: Agenda, store: Store, progress: Progress) -> None:
        super().__init__(metric="done", mode="max")
        self._agenda = agenda
        self._store = store
        self._progress = progress
        self._running: dict[str, tuple[str, Trial]] = {}  # Tune's id -> (method, trial)

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        following = self._agenda.next()
        if following is None:
            return Searcher.FINISHED if self._agenda.complete else None
        cell, trial = following
        self._running[trial_id] = (cell.method, trial)
        return {"job": json.dumps({"trial": trial.to_json(), "method": cell.method})}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        method, trial = self._running.pop(trial_id)
        if result is not None and "row" in result and not error:
            self._agenda.record(json.loads(result["row"]))
            return
        row = _row_of_dead(trial, method, self._agenda.study.backbone)
        self._store.write([row])
        self._agenda.record({column: row.get(column) for column in AGENDA_COLUMNS})

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the rows are the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the rows are the record."""


def _row_of_dead(trial: Trial, method: str, backbone: Backbone) -> Row:
    """The row of a trial whose worker process died again and again."""
    return {
        "trial_id": trial.id,
        "method": method,
        "task": trial.task,
        "regime": trial.regime,
        "seed": trial.seed,
        "backbone": trial.backbone,
        "num_layers": backbone.num_layers,
        "data_source": trial.data,
        "status": "failed",
        "error": f"its worker process died {RETRIES_AFTER_DEATH + 1} times (out of memory?); "
        "Ray's logs say more",
        "settings": trial.to_json(),
    }


class ProgressCallback(tune.Callback):
    """Lets the progress line follow Tune's event loop."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._progress.update()
