"""Keeps track of a study's finished, failed, runnable and blocked trials as rows come in."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aa_ray.study.forecast import Forecast, Plan, paths, simulate
from aa_ray.study.grid import Cell, Study
from aa_ray.study.resolve import RESOLVE_COLUMNS, Resolver, one_row
from aa_ray.trial import Trial

# The columns of rows that a TrialQueue reads.
QUEUE_COLUMNS = (*RESOLVE_COLUMNS, "method", "task", "regime", "backbone", "train_seconds",
                 "test_seconds", "array", "device", "peak_memory_bytes", "precision",
                 "device_memory_bytes", "too_many_trials")  # fmt: skip


def queue_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All rows of a trial as one, with the columns that a TrialQueue reads."""
    row = one_row(rows)
    return {column: row.get(column) for column in QUEUE_COLUMNS}


# The states of trials that are still to produce rows.
UNFINISHED = ("running", "elsewhere", "runnable", "blocked")


class TrialQueue:
    """The finished, failed, runnable and blocked trials of a study, updated as rows come in.

    Operations on a trial take constant or logarithmic time in the size of the study.

    Args:
        study: the study.
        rows: rows of the results folder, with at least ``QUEUE_COLUMNS``.
    """

    def __init__(self, study: Study, rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        self.study = study
        self.forecast = Forecast(study)
        for row in rows:
            self.forecast.learn(row)
        self._paths = paths(study, {cell: self.forecast.weight(cell) for cell in study.cells})
        self._resolver = Resolver(study, rows)
        self._states: dict[str, str] = {}  # trial id -> state
        self._counts: Counter[str] = Counter()  # number of trials in each state
        self._runnable = _Heaps()
        self._retried: set[tuple[str, str]] = set()  # trial id, error
        for cell in self._resolver.trials:
            self._enter(cell)

    def record(self, row: Mapping[str, Any]) -> None:
        """Record a trial that has just finished or failed, given its ``queue_row``."""
        self.forecast.learn(row, new=True)
        # Of each row only what is needed later stays in memory.
        resolved = self._resolver.add({column: row.get(column) for column in RESOLVE_COLUMNS})
        if row["trial_id"] in self._states:
            self._set_state(row["trial_id"], row["status"])
        for cell in resolved:
            self._enter(cell)

    def forget_failures(self) -> None:
        """Make failed trials runnable again."""
        for row in self._resolver.forget_failures():
            self._retried.add((row["trial_id"], row["error"]))
            if row["trial_id"] in self._states:
                self._make_runnable(row["trial_id"])

    def retries(self, row: Mapping[str, Any]) -> bool:
        """Whether the row is a known failure that is to be retried, not a new one."""
        return (row["trial_id"], row["error"]) in self._retried

    @property
    def retried_ids(self) -> set[str]:
        """Ids of the trials that are retried after a failure."""
        return {trial_id for trial_id, _ in self._retried}

    def trial(self, cell: Cell) -> Trial | None:
        """The cell's trial; None while it waits for others."""
        return self._resolver.trials.get(cell)

    @property
    def trial_ids(self) -> list[str]:
        """Ids of the trials known so far."""
        return list(self._states)

    @property
    def finished_ids(self) -> set[str]:
        """Ids of the trials that have finished."""
        return {i for i, state in self._states.items() if state == "finished"}

    def next(self, like: Trial | None = None) -> tuple[Cell, Trial] | None:
        """Start the runnable trial with the longest path; None if there is none.

        Args:
            like: start only a trial that can train side by side with this one.
        """
        if like is not None and like.fuse_key is None:
            return None
        key = None if like is None else like.fuse_key
        while (trial_id := self._runnable.pop(key)) is not None:
            if self._states[trial_id] == "runnable":  # it may have started meanwhile
                return self._start(trial_id)
        return None

    def next_group(
        self,
        size: Callable[[Trial], int],
        spread: int | None,
        claim: Callable[[Cell, Trial], bool],
    ) -> list[tuple[Cell, Trial]]:
        """Start runnable trials that can train side by side; none if there is none.

        Args:
            size: maximum size of the group of a trial, including itself.
            spread: if given, keep the group small enough that this many slots each get one.
            claim: returns whether this driver may run the trial. If not, ``claim`` tells the queue
                why (``leave``, ``record``), and the group is built without it.
        """
        share = None if spread is None else _divided_up(self._counts["runnable"], spread)
        group: list[tuple[Cell, Trial]] = []
        most = 1
        while len(group) < most:
            following = self.next(like=group[0][1] if group else None)
            if following is None:
                break
            if claim(*following):
                group.append(following)
                most = size(group[0][1]) if share is None else min(size(group[0][1]), share)
        return group

    def take(self, trial: Trial) -> tuple[Cell, Trial] | None:
        """Start this trial; None if it is not runnable."""
        return self._start(trial.id) if self._states.get(trial.id) == "runnable" else None

    def leave(self, cell: Cell) -> None:
        """Record that another driver runs the cell's trial, which ``next`` has returned."""
        self._set_state(self._resolver.trials[cell].id, "elsewhere")

    def look_again(self) -> None:
        """Let ``next`` return other drivers' trials again, since these drivers may have died."""
        for trial_id in [i for i, state in self._states.items() if state == "elsewhere"]:
            self._make_runnable(trial_id)

    def running(self) -> list[tuple[Cell, Trial]]:
        """The trials that this driver runs, each with the cell that names it."""
        cells = [self._cell(i) for i, state in self._states.items() if state == "running"]
        return [(cell, self._resolver.trials[cell]) for cell in cells]

    def counts(self) -> Counter[str]:
        """Number of trials that are finished, failed, running, elsewhere, runnable, blocked, lost.

        Another driver runs those "elsewhere". "Blocked" cells wait for other trials; each counts as
        one, since it is not known yet whether some are the same trial. "Lost" cells depend on a
        trial that failed.
        """
        cells = {"blocked": len(self._resolver.waiting), "lost": len(self._resolver.lost)}
        return +(self._counts + Counter(cells))  # without zeros

    @property
    def complete(self) -> bool:
        """Whether nothing is left to run, now or later."""
        counts = self.counts()
        return not any(counts[state] for state in UNFINISHED)

    def failures(self) -> list[tuple[Cell, str]]:
        """The failed trials with their errors."""
        return self._resolver.failures()

    def seconds_left(self, slots: int) -> float | None:
        """Estimate for this many slots, all busy to the end; None without any measured row."""
        left = 0.0
        for cell, state in self._left():
            expected = self.forecast.seconds(cell)
            if expected is None:
                return None
            left += expected * (0.5 if state in ("running", "elsewhere") else 1)
        return left / slots

    def plan(self, slots: int, fuse: int | Mapping[str, int]) -> Plan | None:
        """Simulation of the rest on this many slots; None without any measured row."""
        weight = {}
        for cell, _ in self._left():
            expected = self.forecast.seconds(cell)
            if expected is None:
                return None
            weight[cell] = expected
        return simulate(self.study, weight, slots, fuse)

    def _left(self) -> list[tuple[Cell, str]]:
        """The cells of trials that are still to produce rows, with their states."""
        known = [(self._cell(i), state) for i, state in self._states.items() if state in UNFINISHED]
        return [*known, *((cell, "blocked") for cell in self._resolver.waiting)]

    def _enter(self, cell: Cell) -> None:
        """Record a cell whose trial has just become known."""
        trial_id = self._resolver.trials[cell].id
        if trial_id in self._states:  # another cell resolves to it
            return
        row = self._resolver.rows.get(trial_id)
        if row is None:
            self._make_runnable(trial_id)
        else:
            self._set_state(trial_id, row["status"])

    def _make_runnable(self, trial_id: str) -> None:
        self._set_state(trial_id, "runnable")
        cell = self._cell(trial_id)
        self._runnable.push(trial_id, self._paths[cell], self._resolver.trials[cell].fuse_key)

    def _start(self, trial_id: str) -> tuple[Cell, Trial]:
        self._set_state(trial_id, "running")
        cell = self._cell(trial_id)
        return cell, self._resolver.trials[cell]

    def _set_state(self, trial_id: str, state: str) -> None:
        if trial_id in self._states:
            self._counts[self._states[trial_id]] -= 1
        self._states[trial_id] = state
        self._counts[state] += 1

    def _cell(self, trial_id: str) -> Cell:
        """The cell that names the trial."""
        return self._resolver.cells[trial_id][0]


class _Heaps:
    """Heaps of trial ids, longest path first: one for all trials, and one for each fuse key.

    A trial that is popped from one heap stays in the other.
    """

    def __init__(self) -> None:
        self._heaps: dict[Any, list[tuple[float, int, str]]] = {}  # (-path, number, trial id)
        self._numbers = itertools.count()  # among equal paths: first in, first out

    def push(self, trial_id: str, path: float, fuse_key: object | None) -> None:
        entry = (-path, next(self._numbers), trial_id)
        for key in {None, fuse_key}:
            heapq.heappush(self._heaps.setdefault(key, []), entry)

    def pop(self, fuse_key: object | None) -> str | None:
        """Pop the first trial with this fuse key, or of all trials for None; None if empty."""
        heap = self._heaps.get(fuse_key)
        return heapq.heappop(heap)[2] if heap else None


def _divided_up(total: int, parts: int) -> int:
    """``total`` / ``parts``, rounded up."""
    return -(-total // parts)
