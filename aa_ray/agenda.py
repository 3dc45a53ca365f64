"""Which trials of a study are finished, failed, runnable or blocked, as rows come in."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from aa_ray.study import Cell, Study
from aa_ray.trial import Trial

# The columns that an Agenda looks at.
AGENDA_COLUMNS = ("trial_id", "status", "error", "selected_layers", "task", "regime", "backbone",
                  "train_seconds", "test_seconds", "array")  # fmt: skip


# The states of trials that will still have rows.
UNFINISHED = ("running", "elsewhere", "runnable", "blocked")


def seconds(row: dict[str, Any]) -> float:
    """The trial's share of its array's wall time, for training and test."""
    return float(row["train_seconds"] + row["test_seconds"]) / len(row.get("array") or [1])


class Agenda:
    """Which trials of a study are finished, failed, runnable or blocked, as rows come in.

    Args:
        study: the study.
        rows: rows of the results folder, with at least ``AGENDA_COLUMNS``.
    """

    def __init__(self, study: Study, rows: Iterable[dict[str, Any]]) -> None:
        self.study = study
        self._rows: dict[str, dict[str, Any]] = {row["trial_id"]: row for row in rows}
        self._trials: dict[Cell, Trial] = {}
        self._blocked: list[Cell] = list(study.cells)  # they wait for a trial
        self._lost: list[Cell] = []  # they wait for a trial that has failed
        self._started: set[str] = set()
        self._elsewhere: dict[str, Cell] = {}
        self._forgotten: set[tuple[str, str]] = set()
        self._queue: deque[Cell] = deque()
        self._resolve()

    def record(self, row: dict[str, Any]) -> None:
        """Take note of a trial that has just finished or failed."""
        self._rows[row["trial_id"]] = row
        self._started.discard(row["trial_id"])
        self._elsewhere.pop(row["trial_id"], None)
        if row["status"] == "failed" or row["selected_layers"] is not None:
            self._resolve()  # others may have waited for it

    def forget_failures(self) -> None:
        """Make failed trials runnable again."""
        failed = {i: row for i, row in self._rows.items() if row["status"] == "failed"}
        self._forgotten = {(i, row["error"]) for i, row in failed.items()}
        self._rows = {i: row for i, row in self._rows.items() if i not in failed}
        self._queue = deque(self._trials)
        self._blocked, self._lost = [*self._blocked, *self._lost], []

    def retries(self, row: dict[str, Any]) -> bool:
        """Whether the row is one of the failures to be tried again, and not a new one."""
        return (row["trial_id"], row["error"]) in self._forgotten

    def _resolve(self) -> None:
        """Find the trials of cells whose needs have finished, and queue them."""
        blocked, self._blocked = self._blocked, []
        for cell in blocked:
            rows = [self.row(need) for need in self.study.needs(cell)]
            finished = [row for row in rows if row is not None and row["status"] == "finished"]
            if any(row is not None and row["status"] == "failed" for row in rows):
                self._lost.append(cell)
            elif len(finished) == len(rows):
                selected = [tuple(row["selected_layers"]) for row in finished]
                self._trials[cell] = self.study.trial(cell, selected)
                self._queue.append(cell)
            else:
                self._blocked.append(cell)

    def trial(self, cell: Cell) -> Trial | None:
        """The cell's trial; None while it waits for another."""
        return self._trials.get(cell)

    def row(self, cell: Cell) -> dict[str, Any] | None:
        """A row of the cell's trial; None while there is none."""
        trial = self._trials.get(cell)
        return self._rows.get(trial.id) if trial else None

    def next(self, like: Trial | None = None) -> tuple[Cell, Trial] | None:
        """A runnable trial, from now on taken for running; None where there is none at present.

        ``like``: only one that can train beside this trial.
        """
        skipped = []
        found = None
        while self._queue and found is None:
            cell = self._queue.popleft()
            trial = self._trials[cell]
            if trial.id in self._rows or trial.id in self._started:
                continue
            if like is None or like.fuse_key == trial.fuse_key is not None:
                found = cell, trial
                self._started.add(trial.id)
            else:
                skipped.append(cell)
        self._queue.extendleft(reversed(skipped))
        return found

    def take(self, trial: Trial) -> tuple[Cell, Trial] | None:
        """That very trial, if it is runnable, from now on taken for running."""
        for cell in self._queue:
            if self._trials[cell].id == trial.id:
                if trial.id in self._rows or trial.id in self._started:
                    return None
                self._started.add(trial.id)
                return cell, self._trials[cell]
        return None

    def leave(self, cell: Cell) -> None:
        """The cell's trial, which ``next`` has given, is run by another driver."""
        trial_id = self._trials[cell].id
        self._started.discard(trial_id)
        self._elsewhere[trial_id] = cell

    def look_again(self) -> None:
        """Let ``next`` give the trials of other drivers again: they may have finished or died."""
        self._queue.extendleft(self._elsewhere.values())
        self._elsewhere.clear()

    def counts(self) -> Counter[str]:
        """Number of trials that are finished, failed, running, elsewhere, runnable, blocked, lost.

        Those elsewhere are run by another driver. Blocked cells wait for another trial, and count
        one each, since it is not known yet whether some are the same trial. Lost ones wait for a
        trial that failed.
        """
        return Counter(dict(self._states()).values())

    def _states(self) -> Iterable[tuple[str, str]]:
        for state, cells in (("blocked", self._blocked), ("lost", self._lost)):
            yield from ((str(cell), state) for cell in cells)
        for trial in self._trials.values():
            if trial.id in self._rows:
                yield trial.id, self._rows[trial.id]["status"]
            else:
                running = "running" if trial.id in self._started else "runnable"
                yield trial.id, "elsewhere" if trial.id in self._elsewhere else running

    @property
    def complete(self) -> bool:
        """Whether nothing is left that could run now or later."""
        while self._queue and self._trials[self._queue[0]].id in self._rows:
            self._queue.popleft()
        return not (self._queue or self._started or self._elsewhere or self._blocked)

    def failures(self) -> list[tuple[Cell, str]]:
        """The failed trials with their errors."""
        rows = {cell: self.row(cell) for cell in self._trials}
        found = [(c, row["error"]) for c, row in rows.items() if row and row["status"] == "failed"]
        return list({self._trials[cell].id: (cell, error) for cell, error in found}.values())

    def seconds_left(self, slots: int) -> float | None:
        """Estimate from the measured times of this backbone's trials, on that many slots.

        The mean over the same task and regime where one was measured, else over the same regime,
        else over all. None where nothing was measured.
        """
        times: dict[tuple[str | None, str | None], list[float]] = {}
        for row in self._rows.values():
            if row["status"] == "finished" and row["backbone"] == self.study.backbone.identity:
                for key in ((row["task"], row["regime"]), (None, row["regime"]), (None, None)):
                    times.setdefault(key, []).append(seconds(row))
        if not times:
            return None
        total = 0.0
        names = {str(cell): cell for cell in self.study.cells}
        names |= {trial.id: cell for cell, trial in self._trials.items()}
        for name, state in dict(self._states()).items():
            if state in UNFINISHED:
                cell = names[name]
                keys = ((cell.task, cell.regime), (None, cell.regime), (None, None))
                measured = next(times[key] for key in keys if key in times)
                total += (
                    sum(measured)
                    / len(measured)
                    * (0.5 if state in ("running", "elsewhere") else 1)
                )
        return total / slots
