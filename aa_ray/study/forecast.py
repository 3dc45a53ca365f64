"""Time forecasts for trials: from existing rows, else in proportion to the number of examples.

They decide the order of trials, the remaining time, and a study's plan for a number of GPUs.
"""

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aa_ray.data import regimes, tasks
from aa_ray.data.glue import TRAIN_SHARE
from aa_ray.study.footprint import Footprint
from aa_ray.study.grid import Cell, Study

# Cost of a training step on an example, in forward passes.
STEP = 3


def examples(study: Study, cell: Cell) -> float:
    """Cost of a trial's training and test in forward passes of one example."""
    task = tasks.get(cell.task)
    annotated = regimes.get(cell.regime).size or task.train_rows
    epoch = STEP * TRAIN_SHARE + (1 - TRAIN_SHARE)
    return study.epochs * epoch * annotated + task.test_rows


def seconds(row: Mapping[str, Any]) -> float:
    """The trial's share of its group's wall time for training and test."""
    return float(row["train_seconds"] + row["test_seconds"]) / len(row.get("array") or [1])


def duration(seconds: float) -> str:
    """Seconds in readable form: 45 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 36 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


class _Times:
    """Measured seconds of trials, by method, task and regime, and the examples they were for."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[float, int]] = {}  # sum and count
        self._examples = 0.0

    def add(self, cell: Cell, cost: float, seconds: float) -> None:
        """Add a trial, with its cost from ``examples``."""
        self._examples += cost
        for key in _keys(cell):
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = total + seconds, count + 1

    def merge(self, other: "_Times") -> None:
        self._examples += other._examples
        for key, (total, count) in other._sums.items():
            before, number = self._sums.get(key, (0.0, 0))
            self._sums[key] = before + total, number + count

    def near(self, cell: Cell) -> float | None:
        """Mean over the same method, task and regime, else over the same task and regime."""
        for key in _keys(cell)[:-1]:
            if key in self._sums:
                total, count = self._sums[key]
                return total / count
        return None

    @property
    def per_example(self) -> float | None:
        """Mean seconds per unit of ``examples``."""
        return self._sums[()][0] / self._examples if self._examples else None

    def speed(self, other: "_Times") -> float | None:
        """How much longer trials take here than there, on what was measured in both places."""
        common = [key for key in self._sums if len(key) == 3 and key in other._sums]
        if common:
            here, there = (
                sum(total / count for total, count in map(times._sums.__getitem__, common))
                for times in (self, other)
            )
            return here / there if there else None
        if self.per_example is None or not other.per_example:
            return None
        return self.per_example / other.per_example


class Forecast:
    """Expected seconds of a study's trials; each new row improves the estimate.

    Devices differ in speed, and a study may continue on another one. So rows of the devices that
    are in use count. Times from other devices are scaled to these.

    Attributes:
        footprint: the trials' GPU memory.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._times: dict[str, _Times] = {}  # by device
        self._in_use: set[str] = set()  # devices
        # Times on devices in use, on others, and how much longer they are on the first.
        self._joined: tuple[_Times, _Times, float | None] | None = None
        self.footprint = Footprint()

    def learn(self, row: Mapping[str, Any], new: bool = False) -> None:
        """Take a row into account; other backbones, unknown tasks and failures have no effect.

        Args:
            new: the trial has just finished, so its device is in use.
        """
        if row["status"] != "finished" or row.get("train_seconds") is None:
            return
        if row.get("backbone") != self._study.backbone.identity or row["task"] not in tasks.TASKS:
            return
        cell = Cell(row.get("method", ""), row["task"], row["regime"], 0)
        device = str(row.get("device"))
        self._times.setdefault(device, _Times()).add(
            cell, examples(self._study, cell), seconds(row)
        )
        if new:
            self._in_use.add(device)
        self._joined = None
        self.footprint.learn(row)

    def _join(self) -> tuple[_Times, _Times, float | None]:
        """Times by whether the device is in use; all count as in use until one is known."""
        if self._joined is None:
            here, others = _Times(), _Times()
            for device, times in self._times.items():
                used = device in self._in_use or not self._in_use
                (here if used else others).merge(times)
            self._joined = here, others, here.speed(others)
        return self._joined

    def seconds(self, cell: Cell) -> float | None:
        """Mean over the same method, task and regime, else over the same task and regime.

        If neither was measured, estimated from the number of examples; None without any row.
        """
        here, others, speed = self._join()
        near = here.near(cell)
        if near is not None:
            return near
        elsewhere = others.near(cell)
        if elsewhere is not None and speed is not None:
            return elsewhere * speed
        if here.per_example is None:
            return None
        return here.per_example * examples(self._study, cell)

    def weight(self, cell: Cell) -> float:
        """The cell's weight, proportional to the expected seconds."""
        expected = self.seconds(cell)
        return examples(self._study, cell) if expected is None else expected


def _keys(cell: Cell) -> list[tuple[str, ...]]:
    """The keys of ``_Times`` that apply to the cell, most specific first."""
    return [(cell.method, cell.task, cell.regime), (cell.task, cell.regime), ()]


def paths(study: Study, weight: Mapping[Cell, float]) -> dict[Cell, float]:
    """Each cell's weight plus that of the heaviest chain of cells that wait for it.

    Trials with long paths have to start first; otherwise the study waits for them at the end.
    """
    longest = dict(weight)
    for cell in reversed(study.cells):  # dependent cells first
        for need in study.needs(cell) if cell in longest else ():
            if need in longest:
                longest[need] = max(longest[need], weight[need] + longest[cell])
    return longest


@dataclass(frozen=True)
class Plan:
    """The result of a simulated sweep.

    Attributes:
        makespan: seconds until everything is done.
        busy: total working seconds of all slots.
        path: lower bound in seconds for any number of slots.
    """

    makespan: float
    busy: float
    path: float


def simulate(
    study: Study,
    weight: Mapping[Cell, float],
    slots: int,
    fuse: int | Mapping[str, int] = 1,
    order: Mapping[Cell, float] | None = None,
) -> Plan:
    """List scheduling of the cells, longest path first, as in ``TrialQueue``.

    Args:
        weight: cell -> its seconds; dependencies that are not among the cells count as finished.
        fuse: maximum number of cells of a task and regime that run as one group, whose times add
            up; or this number for each task, by default 1.
        order: if given, start the cell with the highest value first instead of the longest path.
    """
    longest = paths(study, weight)
    order = longest if order is None else order
    open_needs = {cell: {n for n in study.needs(cell) if n in weight} for cell in weight}
    waiting: dict[Cell, list[Cell]] = {}
    for cell, needs in open_needs.items():
        for need in needs:
            waiting.setdefault(need, []).append(cell)
    ready = [(-order[cell], k, cell) for k, cell in enumerate(weight) if not open_needs[cell]]
    heapq.heapify(ready)
    serial = itertools.count(len(weight))
    running: list[tuple[float, int, list[Cell]]] = []
    now = busy = 0.0
    while ready or running:
        while ready and len(running) < slots:
            group = _group(ready, fuse)
            work = sum(weight[cell] for cell in group)
            busy += work
            heapq.heappush(running, (now + work, next(serial), group))
        now, _, finished = heapq.heappop(running)
        for cell in itertools.chain.from_iterable(waiting.get(c, ()) for c in finished):
            open_needs[cell] -= set(finished)
            if not open_needs[cell] and cell not in finished:
                heapq.heappush(ready, (-order[cell], next(serial), cell))
    return Plan(now, busy, max(longest.values(), default=0.0))


def _group(ready: list[tuple[float, int, Cell]], fuse: int | Mapping[str, int]) -> list[Cell]:
    """Pop the first cell from ``ready``, with others of its task and regime."""
    group, others = [heapq.heappop(ready)[2]], []
    most = fuse if isinstance(fuse, int) else fuse.get(group[0].task, 1)
    while ready and len(group) < most:
        item = heapq.heappop(ready)
        cell = item[2]
        if (cell.task, cell.regime) == (group[0].task, group[0].regime):
            group.append(cell)
        else:
            others.append(item)
    for item in others:
        heapq.heappush(ready, item)
    return group
