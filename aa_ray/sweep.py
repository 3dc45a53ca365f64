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
            searcher = AgendaSearcher(
                agenda, store, leases, Progress(agenda, slots), resources.fuse
            )
            _tune(agenda, store, searcher, resources, slots)
    finally:
        ray.shutdown()


def _tune(
    agenda: Agenda,
    store: Store,
    searcher: "AgendaSearcher",
    resources: Resources,
    slots: int,
) -> None:
    study = agenda.study
    setting = {
        "backbone": asdict(study.backbone),
        "source": asdict(study.source),
        "results": store.uri,
        "commit": provenance.commit(),
        "threads": resources.cpus_per_trial,
        "stall_seconds": resources.stall_seconds,
    }
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
                callbacks=[SweepCallback(searcher)],
            ),
        )
        try:
            tuner.fit()
        except (RayError, TuneError) as error:
            raise SweepError(
                f"Ray has failed ({str(error).splitlines()[-1]}); finished trials are kept, the "
                "same command goes on"
            ) from error
    searcher.progress.close()
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
    """A Tune trial is one array; the actor keeps its Worker, with the backbone, for the next."""

    def setup(self, config: dict[str, Any]) -> None:
        self._worker: Any = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._setting = json.loads(config["setting"])
        job = json.loads(config["job"])
        self._trials = [Trial.from_json(trial) for trial in job["trials"]]
        self._methods = job["methods"]
        self._wanted = set(job["wanted"])

    def step(self) -> dict[str, Any]:
        """Run the trials, write their rows, report what the agenda needs of one of each."""
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
            every = self._worker.run(self._trials, self._methods)
            wanted = [rows for rows in every if rows[0]["trial_id"] in self._wanted]
            for rows in wanted:
                store.write(rows)
            store.folder.delete(checkpoints.path(self._trials))
        except StorageError as error:
            return {"stop": str(error), "done": True}
        finally:
            watchdog.disarm()
        reported = [{column: rows[0].get(column) for column in AGENDA_COLUMNS} for rows in wanted]
        return {"rows": json.dumps(reported), "remarks": self._worker.remarks, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune asks for one when a trial ends; the worker keeps its own, in the results folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """The worker finds the trial's checkpoint in the results folder."""


class AgendaSearcher(Searcher):
    """Hands Tune the agenda's runnable trials, and tells the agenda how they ended.

    Up to ``fuse`` trials that can train side by side are one Tune trial. A trial is handed out only
    while this driver holds its lease; those of other drivers are looked at from time to time.

    Attributes:
        progress: the line that shows how far the sweep is.
        stopped: why nothing more can be run; None as long as all is well.
    """

    def __init__(
        self, agenda: Agenda, store: Store, leases: Leases, progress: Progress, fuse: int = 1
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.progress = progress
        self.stopped: StorageError | None = None
        self._agenda = agenda
        self._store = store
        self._leases = leases
        self._fuse = fuse
        self._interrupted = checkpoints.arrays(store.folder, set(store.trial_ids()))
        self._looked = time.monotonic()
        self._running: dict[str, list[tuple[Cell, Trial]]] = {}  # by Tune's id
        self._deaths: dict[str, str] = {}  # Tune's id -> how its worker process died

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        job = None
        try:
            if self.stopped is None:
                job = self._continue(trial_id) or self._start(trial_id)
        except StorageError as error:
            self.stopped = error
        if job is None:
            self.progress.update()
            return Searcher.FINISHED if self.stopped or self._agenda.complete else None
        return {"job": json.dumps(job)}

    def _continue(self, trial_id: str) -> dict[str, Any] | None:
        """An array of an earlier run, of which trials of this study still lack their rows."""
        while self._interrupted:
            trials = self._interrupted.pop()
            taken = [found for trial in trials if (found := self._agenda.take(trial))]
            wanted = [found for found in taken if self._claim(*found)]
            if wanted:
                return self._job(trial_id, wanted, trials)
        return None

    def _start(self, trial_id: str) -> dict[str, Any] | None:
        """Runnable trials that can train side by side."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._agenda.look_again()
        array: list[tuple[Cell, Trial]] = []
        while len(array) < self._fuse:
            following = self._agenda.next(like=array[0][1] if array else None)
            if following is None:
                break
            if self._claim(*following):
                array.append(following)
        return self._job(trial_id, array, [trial for _, trial in array]) if array else None

    def _claim(self, cell: Cell, trial: Trial) -> bool:
        """Whether the trial is this driver's; another may run it, or have finished it."""
        if not self._leases.acquire(trial.id):
            self._agenda.leave(cell)
            return False
        row = self._store.row(trial.id)
        if row is None or self._agenda.retries(row):
            return True
        self._leases.release(trial.id)
        self._agenda.record(row)
        return False

    def _job(
        self, trial_id: str, wanted: list[tuple[Cell, Trial]], trials: list[Trial]
    ) -> dict[str, Any]:
        """What an actor is told: the array's trials, and of which of them rows are wanted."""
        self._running[trial_id] = wanted
        methods = {trial.id: cell.method for cell, trial in wanted}
        return {
            "trials": [trial.to_json() for trial in trials],
            "methods": [methods.get(trial.id, "") for trial in trials],
            "wanted": list(methods),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        array = self._running.pop(trial_id)
        try:
            if result is not None and "stop" in result:
                raise StorageError(result["stop"])
            if result is not None and "rows" in result and not error:
                rows = json.loads(result["rows"])
                for remark in result.get("remarks", ()):
                    self.progress.say(remark)
            else:
                died = self._deaths.pop(trial_id, "")
                backbone = self._agenda.study.backbone
                rows = [_row_of_dead(trial, cell.method, backbone, died) for cell, trial in array]
                for row in rows:
                    self._store.write([row])
            for row in rows:
                self._agenda.record({column: row.get(column) for column in AGENDA_COLUMNS})
        except StorageError as storage_error:
            self.stopped = storage_error
        for _, trial in array:
            self._leases.release(trial.id)

    def on_trial_death(self, trial_id: str, error: str) -> None:
        """The array's worker process has died; Tune starts another."""
        self._deaths[trial_id] = error
        cells = self._running[trial_id]
        others = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        self.progress.say(f"{cells[0][0]}{others}: its worker process died; it is continued")

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
        **trial.columns,
        "method": method,
        "num_layers": backbone.num_layers,
        "status": "failed",
        "error": f"its worker process died {RETRIES_AFTER_DEATH + 1} times (killed, out of memory, "
        f"or silent for longer than --stall-seconds); {advice}",
    }


class SweepCallback(tune.Callback):
    """Lets the progress line follow Tune's event loop, and the searcher hear of deaths."""

    def __init__(self, searcher: AgendaSearcher) -> None:
        self._searcher = searcher
        self._looked = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called about ten times a second.

        Raises:
            RayError: no node is left, which Tune itself would not notice.
        """
        self._searcher.progress.update()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            if not any(node["Alive"] for node in ray.nodes()):
                raise RayError("no node is left")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        said = Path(trial.error_file).read_text() if trial.error_file else ""
        self._searcher.on_trial_death(trial.trial_id, said)
