"""Hands a study's trials to Ray Tune, singly or in groups, as their dependencies finish."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from aa_ray.errors import StorageError, SweepError, one_line
from aa_ray.store import clock
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.schema import Row, StudyColumns, failed, make_row
from aa_ray.study.grid import Cell
from aa_ray.study.queue import TrialQueue, queue_row
from aa_ray.sweep.leftovers import over
from aa_ray.sweep.messages import Job, Report
from aa_ray.sweep.progress import Progress
from aa_ray.training import checkpoints
from aa_ray.trial import Trial

# How often a trial is continued after its worker process has died.
RETRIES_AFTER_DEATH = 4

# Seconds between two checks on the trials of other drivers.
LOOK_SECONDS = 5.0


def fault(death: str) -> str:
    """The failure in one line, from the traceback of a ``DeviceError``."""
    return death.rsplit("DeviceError: ", 1)[-1].strip().split("\n")[0]


def raised(death: str) -> str:
    """The exception that a worker raised, in one line; empty if its process died without one."""
    last = death.rsplit("Failure #", 1)[-1].strip()  # Tune's file holds all deaths of the trial
    if ".train()" not in last or '  File "' not in last:
        return ""
    name, _, message = last.splitlines()[-1].partition(": ")
    return one_line(f"{name.rsplit('.', 1)[-1]}: {message}" if message else name)


class QueueSearcher(Searcher):
    """Hands the queue's runnable trials to Tune, and tells the queue how they ended.

    A Tune trial is a group of up to ``fuse`` trials that train side by side. This driver only hands
    out trials whose lease it holds, and checks from time to time whether other drivers have
    finished theirs.

    Args:
        fuse: maximum size of a group, or a function that returns it for a trial.
        spread: number of slots; keep groups small enough that each slot gets one. None: no limit.

    Attributes:
        progress: the progress display.
        stopped: why nothing more can be run; None otherwise.
    """

    def __init__(
        self,
        queue: TrialQueue,
        store: Store,
        leases: Leases,
        progress: Progress,
        fuse: int | Callable[[Trial], int] = 1,
        spread: int | None = None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.progress = progress
        self.stopped: StorageError | SweepError | None = None
        self._queue = queue
        self._store = store
        self._leases = leases
        self._fuse = (lambda _: fuse) if isinstance(fuse, int) else fuse
        self._spread = spread
        self._interrupted = checkpoints.interrupted_groups(store.folder, over(queue, store))
        self._looked = clock.monotonic()
        self._running: dict[str, list[tuple[Cell, Trial]]] = {}  # by Tune's trial id
        self._retried: dict[str, str] = {}  # trial id -> the error of its failed row
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
            return Searcher.FINISHED if self.stopped or self._queue.complete else None
        return {"job": job.to_json(), "id": trial_id}

    @property
    def running_ids(self) -> list[str]:
        """Tune's ids of the running jobs."""
        return list(self._running)

    def _continue(self, trial_id: str) -> Job | None:
        """A group that an earlier run started, if some of its trials still lack rows."""
        while self._interrupted:
            trials = self._interrupted.pop()
            runnable = [taken for trial in trials if (taken := self._queue.take(trial))]
            claimed = [taken for taken in runnable if self._claim(*taken)]
            if claimed:
                return self._job(trial_id, claimed, trials)
        return None

    def _start(self, trial_id: str) -> Job | None:
        """A job of runnable trials that can train side by side."""
        if clock.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = clock.monotonic()
            self._queue.look_again()
        group = self._queue.next_group(self._fuse, self._spread, self._claim)
        return self._job(trial_id, group, [trial for _, trial in group]) if group else None

    def _claim(self, cell: Cell, trial: Trial) -> bool:
        """Whether this driver may run the trial; another may be running or have finished it."""
        if not self._leases.acquire(trial.id):
            self._queue.leave(cell)
            return False
        rows = self._store.rows(trial.id)
        if not rows:
            return True
        row = queue_row(rows)
        if self._queue.retries(row):
            self._retried[trial.id] = str(row["error"])
            return True
        self._leases.release(trial.id)
        self._queue.record(row)
        return False

    def _job(self, trial_id: str, claimed: list[tuple[Cell, Trial]], trials: list[Trial]) -> Job:
        """The job that trains all ``trials`` for the rows of the claimed ones."""
        self._running[trial_id] = claimed
        methods = {trial.id: cell.method for cell, trial in claimed}
        retried = {i: self._retried.pop(i) for i in methods if i in self._retried}
        return Job(trials, methods, retried)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        claimed = self._running.pop(trial_id)
        report = None if error else Report.from_result(result)
        death = self._deaths.pop(trial_id, "")
        try:
            rows = self._heard(report) if report else self._rows_of_dead(claimed, death)
            for row in rows:
                self._queue.record(row)
        except (StorageError, SweepError) as reason:
            self.stopped = self.stopped or reason
        for _, trial in claimed:
            try:
                self._leases.release(trial.id)
            except StorageError as reason:
                self.stopped = self.stopped or reason

    def _heard(self, report: Report) -> Sequence[Mapping[str, Any]]:
        """The rows in the report; prints its remarks."""
        if report.stop is not None:
            raise SweepError(report.stop)
        for remark in report.remarks:
            self.progress.say(remark)
        return report.rows

    def _rows_of_dead(
        self, claimed: list[tuple[Cell, Trial]], death: str
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of trials whose worker process died repeatedly."""
        rows = []
        for cell, trial in claimed:
            existing = self._store.rows(trial.id)  # the process may have died after writing them
            if not existing or self._queue.retries(existing[0]):
                existing = self._store.write([self._row_of_dead(cell, trial, death)])
            rows.append(queue_row(existing))
        return rows

    def _row_of_dead(self, cell: Cell, trial: Trial, death: str) -> Row:
        advice = "Ray's logs say more"
        if "DeviceError" in death:
            advice = f"{fault(death)}; python -m aa_ray doctor says more"
        elif "memory" in death.lower():
            advice = "out of memory; lower --max-concurrent, so that fewer trials share it"
        study: StudyColumns = {
            "method": cell.method,
            "num_layers": self._queue.study.backbone.num_layers,
        }
        times = f"{RETRIES_AFTER_DEATH + 1} times"
        error = (
            f"its worker process died {times} (killed, out of memory, or silent for longer than "
            f"--stall-seconds); {advice}"
        )
        if "DeviceError" not in death and (exception := raised(death)):
            error = f"its worker failed {times}: {exception}; {advice}"
        return make_row(trial.columns, study, failed(error))

    def on_silence(self, trial_id: str) -> None:
        """A group's worker process sent no heartbeat and is ended."""
        cell = self._running[trial_id][0][0]
        self.progress.say(f"{cell}: its worker process is silent (suspended?); ending it")

    def on_trial_death(self, trial_id: str, error: str) -> None:
        """A group's worker process has died; Tune starts another."""
        self._deaths[trial_id] = error
        group = self._running[trial_id]
        others = f" and {len(group) - 1} more" if len(group) > 1 else ""
        how = "process died"
        if "DeviceError" in error:
            how += f" ({fault(error)})"
        elif exception := raised(error):
            how = f"failed ({exception})"
        self.progress.say(f"{group[0][0]}{others}: the worker {how}; continuing")

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Tune pickles a copy to restore a run, which is never done here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, since the rows are the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, since the rows are the record."""
