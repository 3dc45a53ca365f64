"""The grid of a study: method x task x regime x seed, and which trial waits for which."""

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from aa_ray import architectures, data, deviations
from aa_ray.architectures import FIRST_SEED, Layers
from aa_ray.backbones import Backbone, Rates
from aa_ray.data import Source
from aa_ray.errors import UsageError
from aa_ray.trial import Trial

AA = "aa"

# The columns that an Agenda looks at.
AGENDA_COLUMNS = ("trial_id", "status", "error", "selected_layers", "task", "regime", "backbone",
                  "train_seconds", "test_seconds", "array")  # fmt: skip


# The states of trials that will still have rows.
UNFINISHED = ("running", "elsewhere", "runnable", "blocked")

# The variant of a study that changes nothing.
PLAIN = ""

Variants = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]


def seconds(row: dict[str, Any]) -> float:
    """The trial's share of its array's wall time, for training and test."""
    return float(row["train_seconds"] + row["test_seconds"]) / len(row.get("array") or [1])


class Cell(NamedTuple):
    """One place of the grid. Several cells may resolve to the same trial."""

    method: str
    task: str
    regime: str
    seed: int
    variant: str = PLAIN

    def __str__(self) -> str:
        variant = f" {self.variant}" if self.variant != PLAIN else ""
        return f"{self.method} {self.task} {self.regime} seed {self.seed}{variant}"


@dataclass(frozen=True)
class Study:
    """What is asked for, and with which settings.

    ``cells`` adds the ``aa`` trials that others depend on where the grid does not have them.

    Attributes:
        variants: (name, (setting of ``Trial``, value) ...) of each variant of the whole grid. A
            setting that cannot change a trial's result is left alone there, so that variants share
            trials.
        own_selections: whether a variant's focused architectures follow its own ``aa`` trials;
            else they follow those of ``PLAIN``.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    regimes: tuple[str, ...]
    seeds: tuple[int, ...]
    backbone: Backbone
    source: Source
    rates: Rates
    epochs: int
    variants: Variants = ((PLAIN, ()),)
    own_selections: bool = True

    def with_variants(self, variants: Variants, own_selections: bool = True) -> "Study":
        """The study in those variants, for a study whose subject the settings are.

        Raises:
            UsageError: settings were chosen by hand as well; they would be lost.
        """
        if self.variants != ((PLAIN, ()),):
            raise UsageError("--set: this study varies the settings itself; leave --set out")
        return dataclasses.replace(self, variants=variants, own_selections=own_selections)

    def seeds_of(self, regime: str) -> tuple[int, ...]:
        """The regime's seeds; full data has the first one only (paper section 4.4)."""
        return self.seeds[:1] if regime == "full" else self.seeds

    def grid(self) -> list[Cell]:
        """The cells asked for."""
        names = [name for name, _ in self.variants]
        return [
            Cell(method, task, regime, seed, variant)
            for regime, seed, task, variant, method in itertools.product(
                self.regimes, self.seeds, self.tasks, names, self.methods
            )
            if seed in self.seeds_of(regime)
        ]

    @cached_property
    def cells(self) -> list[Cell]:
        """The grid and what it depends on, those first on which the most cells wait."""
        waiting = Counter(need for cell in self.grid() for need in self.needs(cell))
        every = dict.fromkeys([*waiting, *self.grid()])
        return sorted(every, key=lambda cell: -waiting[cell])  # stable

    def needs(self, cell: Cell) -> list[Cell]:
        """The ``aa`` cells whose selected layers decide this cell's architecture."""
        variant = cell.variant if self.own_selections else PLAIN
        return [
            Cell(AA, need.task or cell.task, need.regime or cell.regime, FIRST_SEED, variant)
            for need in architectures.get(cell.method).needs
        ]

    def trial(self, cell: Cell, selected: list[Layers]) -> Trial:
        """The cell's trial, given the selected layers of each of its needs."""
        method = architectures.get(cell.method)
        num_layers = self.backbone.num_layers
        layers = method.layers(num_layers, *selected)
        depths = method.depths(num_layers, *selected) if method.depths else None
        trial = Trial(
            task=cell.task,
            regime=cell.regime,
            seed=cell.seed,
            backbone=self.backbone.identity,
            data=self._data[cell.task],
            layers=layers,
            # Without adapters the activation changes nothing, so it must not tell trials apart.
            activation=method.activation if layers else architectures.RELU,
            switched=method.switched,
            inference_depths=tuple(sorted(set(depths))) if depths else None,
            learning_rate=self.rates.adapter,
            rational_learning_rate=self.rates.rational,
            switch_learning_rate=self.rates.switch,
            epochs=self.epochs,
        )
        settings = dict(self.variants).get(cell.variant, ())
        changes = {name: v for name, v in settings if deviations.applies(name, trial)}
        return dataclasses.replace(trial, **changes)

    @cached_property
    def _data(self) -> dict[str, str]:
        return {task: self.source.identity(task) for task in {cell.task for cell in self.cells}}

    def bytes_needed(self, slots: int) -> int:
        """Generous estimate of the space for all rows and for the checkpoints of running trials."""
        layers, hidden = self.backbone.num_layers, self.backbone.hidden_size
        row = 50_000 + layers * (64 * 8 + (self.epochs + 1) * 12 * 4)
        parameters = layers * 2 * hidden * (hidden // 16 + 1) + 4 * hidden
        # Weights, two moments and a best epoch, each 4 bytes, while the next is being written.
        return len(self.cells) * row + slots * parameters * 4 * 4 * 2

    def check_data(self) -> None:
        """Read every task and draw every split once, so that bad data is found before the start.

        Raises:
            UsageError: see ``Source.load`` and ``data.split``.
        """
        for task, regime in sorted({(cell.task, cell.regime) for cell in self.cells}):
            data.split(self.source.load(task), regime, FIRST_SEED)


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
        self._blocked: list[Cell] = list(study.cells)
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
        if row["status"] == "finished" and row["selected_layers"] is not None:
            self._resolve()

    def forget_failures(self) -> None:
        """Make failed trials runnable again."""
        failed = {i: row for i, row in self._rows.items() if row["status"] == "failed"}
        self._forgotten = {(i, row["error"]) for i, row in failed.items()}
        self._rows = {i: row for i, row in self._rows.items() if i not in failed}
        self._queue = deque(self._trials)

    def retries(self, row: dict[str, Any]) -> bool:
        """Whether the row is one of the failures to be tried again, and not a new one."""
        return (row["trial_id"], row["error"]) in self._forgotten

    def _resolve(self) -> None:
        """Find the trials of cells whose needs have finished, and queue them."""
        blocked, self._blocked = self._blocked, []
        for cell in blocked:
            rows = [self.row(need) for need in self.study.needs(cell)]
            finished = [row for row in rows if row is not None and row["status"] == "finished"]
            if len(finished) == len(rows):
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
        for cell in self.study.cells:
            trial = self._trials.get(cell)
            if trial is None:
                rows = [self.row(need) for need in self.study.needs(cell)]
                lost = any(row is not None and row["status"] == "failed" for row in rows)
                yield str(cell), "lost" if lost else "blocked"
            elif trial.id in self._rows:
                yield trial.id, self._rows[trial.id]["status"]
            else:
                running = "running" if trial.id in self._started else "runnable"
                yield trial.id, "elsewhere" if trial.id in self._elsewhere else running

    @property
    def complete(self) -> bool:
        """Whether nothing is left that could run now or later."""
        counts = self.counts()
        return not any(counts[state] for state in UNFINISHED)

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
