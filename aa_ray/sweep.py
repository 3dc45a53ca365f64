"""Ray Tune runs a study. The only module that imports ray.

One Tuner per run; a searcher that hands out the next trial whose dependencies have rows; reused
actors that keep the backbone. The Parquet rows, not Tune's own folder, are the record of what is
finished: an actor writes a trial's rows before it reports. Checkpoints are ours too, in the results
folder, where any later run of the study finds them.
"""

import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.parse
from dataclasses import asdict
from pathlib import Path
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
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.search import Searcher

from aa_ray import checkpoints, provenance, watchdog
from aa_ray.backbones import Backbone
from aa_ray.data import Source
from aa_ray.errors import SweepError, UsageError
from aa_ray.leases import Leases
from aa_ray.progress import Progress
from aa_ray.resources import Resources
from aa_ray.results import Row, Store
from aa_ray.storage import StorageError
from aa_ray.study import AGENDA_COLUMNS, Agenda, Cell
from aa_ray.trial import Trial

# A worker process that dies takes its trial along; the trial is continued this often.
RETRIES_AFTER_DEATH = 4

# Seconds between two looks at what other drivers have done.
LOOK_SECONDS = 5.0


def run(agenda: Agenda, store: Store, resources: Resources) -> None:
    """Run whatever the agenda has left; afterwards it says what became of it.

    Raises:
        UsageError: the cluster cannot be reached or is too small for a trial.
        StorageError: the results folder can no longer be written to. What has finished is kept.
        SweepError: Ray itself has failed. What has finished is kept.
    """
    _start_ray(resources.address)
    try:
        slots = resources.slots(ray.cluster_resources())
        _check_space(agenda, store, slots)
        with Leases(store.folder) as leases:
            leases.tidy(set(store.trial_ids()))
            _tune(agenda, store, leases, resources, slots)
    finally:
        ray.shutdown()


def _tune(agenda: Agenda, store: Store, leases: Leases, resources: Resources, slots: int) -> None:
    study = agenda.study
    setting = {
        "backbone": asdict(study.backbone),
        "source": asdict(study.source),
        "results": store.uri,
        "commit": provenance.commit(),
        "threads": resources.cpus_per_trial,
        "stall_seconds": resources.stall_seconds,
    }
    progress = Progress(agenda, slots)
    searcher = AgendaSearcher(agenda, store, leases, progress)
    with tempfile.TemporaryDirectory(prefix="aa_ray_tune_") as folder:
        tuner = tune.Tuner(
            tune.with_resources(
                TrialActor,
                {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
            ),
            param_space={"setting": json.dumps(setting)},
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,  # until the searcher says that it has finished
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES_AFTER_DEATH),
                callbacks=[SweepCallback(progress, searcher)],
            ),
        )
        try:
            tuner.fit()
        except (RayError, TuneError) as error:
            raise SweepError(
                f"Ray has failed ({str(error).splitlines()[-1]}); finished trials are kept, the "
                "same command goes on"
            ) from error
    progress.close()
    if searcher.stopped is not None:
        raise searcher.stopped


def _check_space(agenda: Agenda, store: Store, slots: int) -> None:
    """Refuse a study for whose rows and checkpoints there is not enough space."""
    free = store.folder.free_bytes()
    needed = agenda.study.bytes_needed(slots)
    if free is not None and free < needed:
        raise UsageError(
            f"--results {store.uri}: {free / 1e6:,.0f} MB are free, rows and checkpoints may need "
            f"{needed / 1e6:,.0f} MB; make room or give another folder"
        )


def _start_ray(address: str | None) -> None:
    if address is not None and address != "auto":
        _check_that_somebody_listens(address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    terminate = signal.getsignal(signal.SIGTERM)
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
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)  # ray.init has put its own there


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

        store = Store(self._setting["results"])
        if self._worker is None:
            torch.set_num_threads(self._setting["threads"])
            self._worker = Worker(
                Backbone(**self._setting["backbone"]),
                Source(**self._setting["source"]),
                tuple(self._setting["commit"]),
                store.folder,
            )
        watchdog.arm(self._setting["stall_seconds"])
        try:
            rows = self._worker.run(self._trial, self._method)
            store.write(rows)
            store.folder.delete(checkpoints.path(self._trial.id))
        except StorageError as error:
            return {"stop": str(error), "done": True}
        finally:
            watchdog.disarm()
        row = {column: rows[0].get(column) for column in AGENDA_COLUMNS}
        return {"row": json.dumps(row), "remarks": self._worker.remarks, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune asks for one when a trial ends; the worker keeps its own, in the results folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The worker finds the trial's checkpoint in the results folder."""


class AgendaSearcher(Searcher):
    """Hands Tune the agenda's runnable trials, and tells the agenda how they ended.

    A trial is handed out only while this driver holds its lease; those of other drivers are looked
    at from time to time.

    Attributes:
        stopped: why nothing more can be run; None as long as all is well.
    """

    def __init__(self, agenda: Agenda, store: Store, leases: Leases, progress: Progress) -> None:
        super().__init__(metric="done", mode="max")
        self.stopped: StorageError | None = None
        self._agenda = agenda
        self._store = store
        self._leases = leases
        self._progress = progress
        self._looked = time.monotonic()
        self._running: dict[str, tuple[Cell, Trial]] = {}  # by Tune's id
        self._deaths: dict[str, str] = {}  # Tune's id -> how its worker process died

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        try:
            following = None if self.stopped else self._next()
        except StorageError as error:
            following, self.stopped = None, error
        if following is None:
            self._progress.update()
            return Searcher.FINISHED if self.stopped or self._agenda.complete else None
        cell, trial = self._running[trial_id] = following
        return {"job": json.dumps({"trial": trial.to_json(), "method": cell.method})}

    def _next(self) -> tuple[Cell, Trial] | None:
        """The next trial that nobody else runs or has finished."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._agenda.look_again()
        while (following := self._agenda.next()) is not None:
            cell, trial = following
            if not self._leases.acquire(trial.id):
                self._agenda.leave(cell)
                continue
            row = self._store.row(trial.id)
            if row is None or self._agenda.retries(row):
                return following
            self._leases.release(trial.id)
            self._agenda.record(row)
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        cell, trial = self._running.pop(trial_id)
        try:
            if result is not None and "stop" in result:
                raise StorageError(result["stop"])
            if result is not None and "row" in result and not error:
                row = json.loads(result["row"])
                for remark in result.get("remarks", ()):
                    self._progress.say(remark)
            else:
                died = self._deaths.pop(trial_id, "")
                row = _row_of_dead(trial, cell.method, self._agenda.study.backbone, died)
                self._store.write([row])
            self._agenda.record({column: row.get(column) for column in AGENDA_COLUMNS})
        except StorageError as storage_error:
            self.stopped = storage_error
        self._leases.release(trial.id)

    def on_trial_death(self, trial_id: str, error: str) -> None:
        """The trial's worker process has died; Tune starts another."""
        self._deaths[trial_id] = error
        cell, _ = self._running[trial_id]
        self._progress.say(f"{cell}: its worker process died; it is continued")

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles a copy for its own way of restoring, which is never used here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the rows are the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the rows are the record."""


def _row_of_dead(trial: Trial, method: str, backbone: Backbone, died: str) -> Row:
    """The row of a trial whose worker process died again and again."""
    advice = "Ray's logs say more"
    if "memory" in died.lower():
        advice = "out of memory; lower --max-concurrent, so that fewer trials share it"
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
        "error": f"its worker process died {RETRIES_AFTER_DEATH + 1} times (killed, out of memory, "
        f"or silent for longer than --stall-seconds); {advice}",
        "settings": trial.to_json(),
    }


class SweepCallback(tune.Callback):
    """Lets the progress line follow Tune's event loop, and the searcher hear of deaths."""

    def __init__(self, progress: Progress, searcher: AgendaSearcher) -> None:
        self._progress = progress
        self._searcher = searcher
        self._looked = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called about ten times a second.

        Raises:
            RayError: no node is left, which Tune itself would not notice.
        """
        self._progress.update()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                raise RayError("no node is left")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        said = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.on_trial_death(trial.trial_id, said)
