"""Which trials of a study are finished, failed, runnable or blocked, as rows come in."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aa_ray.study.forecast import Forecast, Plan, paths, simulate
from aa_ray.study.grid import Cell, Study
from aa_ray.trial import Trial

# The columns that an TrialQueue looks at.
QUEUE_COLUMNS = ("trial_id", "method", "status", "error", "selected_layers", "task", "regime",
                  "backbone", "train_seconds", "test_seconds", "array", "device",
                  "peak_memory_bytes")  # fmt: skip


def queue_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the row's columns that a TrialQueue looks at."""
    return {column: row.get(column) for column in QUEUE_COLUMNS}


# The states of trials that will still have rows.
UNFINISHED = ("running", "elsewhere", "runnable", "blocked")


class TrialQueue:
    """Which trials of a study are finished, failed, runnable or blocked, as rows come in.

    Everything that is done per trial takes the same time however large the study is, or grows with
    the logarithm.

    Args:
        study: the study.
        rows: rows of the results folder, with at least ``QUEUE_COLUMNS``.
    """

    def __init__(self, study: Study, rows: Iterable[Mapping[str, Any]]) -> None:
        self.study = study
        self.forecast = Forecast(study)
        self._rows: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            self._rows[row["trial_id"]] = row
            self.forecast.learn(row)
        self._trials: dict[Cell, Trial] = {}
        self._cells: dict[str, list[Cell]] = {}  # trial id -> the cells that are this trial
        self._states: dict[str, str] = {}  # of the trials that are known
        self._lost: set[Cell] = set()  # they wait for a trial that has failed
        self._blocked: dict[Cell, None] = dict.fromkeys(study.cells)  # they wait for a trial
        self._waiting: dict[Cell, list[Cell]] = {}
        for cell in study.cells:
            for need in study.needs(cell):
                self._waiting.setdefault(need, []).append(cell)
        # Heaps of (-path, number, trial id), of all trials and by fuse key. An entry whose trial is
        # not runnable any more is dropped when it comes up.
        self._heaps: dict[Any, list[tuple[float, int, str]]] = {None: []}
        self._numbers = itertools.count()
        self._forgotten: set[tuple[str, str]] = set()
        self._paths = self._longest_first()
        for cell in study.cells:
            self._resolve(cell)

    def _longest_first(self) -> dict[Cell, float]:
        return paths(self.study, {c: self.forecast.weight(c) for c in self.study.cells})

    def record(self, row: Mapping[str, Any]) -> None:
        """Take note of a trial that has just finished or failed."""
        self._rows[row["trial_id"]] = row
        self.forecast.learn(row)
        for cell in self._cells.get(row["trial_id"], ()):
            self._settle(cell)

    def forget_failures(self) -> None:
        """Make failed trials runnable again."""
        failed = {i: row for i, row in self._rows.items() if row["status"] == "failed"}
        self._forgotten = {(i, row["error"]) for i, row in failed.items()}
        self._rows = {i: row for i, row in self._rows.items() if i not in failed}
        for trial_id in failed.keys() & self._states.keys():
            self._queue(trial_id)
        self._blocked |= dict.fromkeys(self._lost)
        self._lost.clear()

    def retries(self, row: Mapping[str, Any]) -> bool:
        """Whether the row is one of the failures to be tried again, and not a new one."""
        return (row["trial_id"], row["error"]) in self._forgotten

    def _resolve(self, cell: Cell) -> None:
        """Find the cell's trial, if what it needs has finished, and queue it."""
        if cell not in self._blocked:
            return
        rows = [self.row(need) for need in self.study.needs(cell)]
        finished = [row for row in rows if row is not None and row["status"] == "finished"]
        if any(row is not None and row["status"] == "failed" for row in rows):
            self._lost.add(cell)
            del self._blocked[cell]
        elif len(finished) == len(rows):
            del self._blocked[cell]
            selected = [tuple(row["selected_layers"]) for row in finished]
            trial = self._trials[cell] = self.study.trial(cell, selected)
            self._cells.setdefault(trial.id, []).append(cell)
            if trial.id not in self._states:
                self._queue(trial.id)
            if trial.id in self._rows:
                self._settle(cell)

    def _settle(self, cell: Cell) -> None:
        """The cell's trial has a row; others may have waited for it."""
        trial_id = self._trials[cell].id
        self._states[trial_id] = self._rows[trial_id]["status"]
        for other in self._waiting.get(cell, ()):
            self._resolve(other)

    def _queue(self, trial_id: str) -> None:
        """Make the trial runnable."""
        cell = self._cells[trial_id][0]
        self._states[trial_id] = "runnable"
        entry = (-self._paths[cell], next(self._numbers), trial_id)
        heapq.heappush(self._heaps[None], entry)
        key = self._trials[cell].fuse_key
        if key is not None:
            heapq.heappush(self._heaps.setdefault(key, []), entry)

    def trial(self, cell: Cell) -> Trial | None:
        """The cell's trial; None while it waits for another."""
        return self._trials.get(cell)

    @property
    def trial_ids(self) -> list[str]:
        """Ids of the trials that are known by now."""
        return list(self._states)

    def row(self, cell: Cell) -> Mapping[str, Any] | None:
        """A row of the cell's trial; None while there is none."""
        trial = self._trials.get(cell)
        return self._rows.get(trial.id) if trial else None

    def next(self, like: Trial | None = None) -> tuple[Cell, Trial] | None:
        """The runnable trial with the longest path, from now on taken for running; None without.

        ``like``: only one that can train beside this trial.
        """
        if like is not None and like.fuse_key is None:
            return None
        heap = self._heaps.get(like.fuse_key if like else None, [])
        while heap:
            _, _, trial_id = heapq.heappop(heap)
            if self._states[trial_id] == "runnable":
                return self._start(trial_id)
        return None

    def take(self, trial: Trial) -> tuple[Cell, Trial] | None:
        """That very trial, if it is runnable, from now on taken for running."""
        return self._start(trial.id) if self._states.get(trial.id) == "runnable" else None

    def _start(self, trial_id: str) -> tuple[Cell, Trial]:
        self._states[trial_id] = "running"
        cell = self._cells[trial_id][0]
        return cell, self._trials[cell]

    def leave(self, cell: Cell) -> None:
        """The cell's trial, which ``next`` has given, is run by another driver."""
        self._states[self._trials[cell].id] = "elsewhere"

    def look_again(self) -> None:
        """Let ``next`` give the trials of other drivers again: they may have finished or died."""
        for trial_id in [i for i, state in self._states.items() if state == "elsewhere"]:
            self._queue(trial_id)

    def counts(self) -> Counter[str]:
        """Number of trials that are finished, failed, running, elsewhere, runnable, blocked, lost.

        Those elsewhere are run by another driver. Blocked cells wait for another trial, and count
        one each, since it is not known yet whether some are the same trial. Lost ones wait for a
        trial that failed.
        """
        found = Counter(self._states.values())
        found.update({"blocked": len(self._blocked), "lost": len(self._lost)})
        return +found  # without zeros

    @property
    def complete(self) -> bool:
        """Whether nothing is left that could run now or later."""
        return not self._blocked and not any(s in UNFINISHED for s in self._states.values())

    def failures(self) -> list[tuple[Cell, str]]:
        """The failed trials with their errors."""
        failed = [i for i, state in self._states.items() if state == "failed"]
        return [(self._cells[i][0], self._rows[i]["error"]) for i in failed]

    def seconds_left(self, slots: int) -> float | None:
        """Estimate on that many slots, all busy to the end; None where nothing was measured."""
        left = 0.0
        for cell, state in self._left():
            expected = self.forecast.seconds(cell)
            if expected is None:
                return None
            left += expected * (0.5 if state in ("running", "elsewhere") else 1)
        return left / slots

    def plan(self, slots: int, fuse: int) -> Plan | None:
        """What running the rest on that many slots takes; None where nothing was measured."""
        weight = {}
        for cell, _ in self._left():
            expected = self.forecast.seconds(cell)
            if expected is None:
                return None
            weight[cell] = expected
        return simulate(self.study, weight, slots, fuse)

    def _left(self) -> list[tuple[Cell, str]]:
        """The cells of trials that will still have rows, with their states."""
        known = [(self._cells[i][0], s) for i, s in self._states.items() if s in UNFINISHED]
        return [*known, *((cell, "blocked") for cell in self._blocked)]
