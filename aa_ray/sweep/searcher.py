"""Hands Ray Tune a study's trials, in arrays, as their dependencies finish."""

import json
import time
from typing import Any

from ray.tune.search import Searcher

from aa_ray.core.backbones import Backbone
from aa_ray.errors import StorageError
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Row, Store
from aa_ray.study.grid import Cell
from aa_ray.study.queue import QUEUE_COLUMNS, TrialQueue
from aa_ray.sweep.progress import Progress
from aa_ray.training import checkpoints
from aa_ray.trial import Trial

# A worker process that dies takes its trial along; the trial is continued this often.
RETRIES_AFTER_DEATH = 4

# Seconds between two looks at what other drivers have done.
LOOK_SECONDS = 5.0


class QueueSearcher(Searcher):
    """Hands Tune the queue's runnable trials, and tells the queue how they ended.

    Up to ``fuse`` trials that can train side by side are one Tune trial. A trial is handed out only
    while this driver holds its lease; those of other drivers are looked at from time to time.

    Args:
        fuse: trials of an array, at most.
        spread: where given, arrays are kept so small that this many slots have one each.

    Attributes:
        progress: the line that shows how far the sweep is.
        stopped: why nothing more can be run; None as long as all is well.
    """

    def __init__(
        self,
        queue: TrialQueue,
        store: Store,
        leases: Leases,
        progress: Progress,
        fuse: int = 1,
        spread: int | None = None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self.progress = progress
        self.stopped: StorageError | None = None
        self._queue = queue
        self._store = store
        self._leases = leases
        self._fuse = fuse
        self._spread = spread
        self._interrupted = checkpoints.arrays(store.folder, store.trial_ids())
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
            return Searcher.FINISHED if self.stopped or self._queue.complete else None
        return {"job": json.dumps(job)}

    def _continue(self, trial_id: str) -> dict[str, Any] | None:
        """An array of an earlier run, of which trials of this study still lack their rows."""
        while self._interrupted:
            trials = self._interrupted.pop()
            taken = [found for trial in trials if (found := self._queue.take(trial))]
            wanted = [found for found in taken if self._claim(*found)]
            if wanted:
                return self._job(trial_id, wanted, trials)
        return None

    def _start(self, trial_id: str) -> dict[str, Any] | None:
        """Runnable trials that can train side by side."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._queue.look_again()
        array: list[tuple[Cell, Trial]] = []
        size = self._fuse
        if self._spread is not None:
            size = min(size, -(-self._queue.counts()["runnable"] // self._spread))
        while len(array) < max(1, size):
            following = self._queue.next(like=array[0][1] if array else None)
            if following is None:
                break
            if self._claim(*following):
                array.append(following)
        return self._job(trial_id, array, [trial for _, trial in array]) if array else None

    def _claim(self, cell: Cell, trial: Trial) -> bool:
        """Whether the trial is this driver's; another may run it, or have finished it."""
        if not self._leases.acquire(trial.id):
            self._queue.leave(cell)
            return False
        row = self._store.row(trial.id)
        if row is None or self._queue.retries(row):
            return True
        self._leases.release(trial.id)
        self._queue.record(row)
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
                backbone = self._queue.study.backbone
                rows = []
                for cell, trial in array:
                    row = self._store.row(trial.id)  # it may have died after it wrote its rows
                    if row is None or self._queue.retries(row):
                        row = _row_of_dead(trial, cell.method, backbone, died)
                        self._store.write([row])
                    rows.append(row)
            for row in rows:
                self._queue.record({column: row.get(column) for column in QUEUE_COLUMNS})
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
