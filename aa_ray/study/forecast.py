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


class Forecast:
    """Expected seconds of a study's trials; each new row improves the estimate.

    Attributes:
        footprint: the trials' GPU memory.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._times: dict[tuple[str, ...], tuple[float, int]] = {}  # sum and count
        self._examples = 0.0
        self.footprint = Footprint()

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take a row into account; other backbones, unknown tasks and failures have no effect."""
        if row["status"] != "finished" or row.get("train_seconds") is None:
            return
        if row.get("backbone") != self._study.backbone.identity or row["task"] not in tasks.TASKS:
            return
        cell = Cell(row.get("method", ""), row["task"], row["regime"], 0)
        self._examples += examples(self._study, cell)
        for key in _keys(cell):
            total, count = self._times.get(key, (0.0, 0))
            self._times[key] = total + seconds(row), count + 1
        self.footprint.learn(row)

    def seconds(self, cell: Cell) -> float | None:
        """Mean over the same method, task and regime, else over the same task and regime.

        If neither was measured, estimated from the number of examples; None without any row.
        """
        *near, anywhere = _keys(cell)
        for key in near:
            if key in self._times:
                total, count = self._times[key]
                return total / count
        if anywhere not in self._times:
            return None
        return self._times[anywhere][0] / self._examples * examples(self._study, cell)

    def weight(self, cell: Cell) -> float:
        """The cell's weight, proportional to the expected seconds."""
        expected = self.seconds(cell)
        return examples(self._study, cell) if expected is None else expected


def _keys(cell: Cell) -> list[tuple[str, ...]]:
    """The keys of ``Forecast._times`` that apply to the cell, most specific first."""
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
