"""Resolves cells to trials, given the rows that decide their layers and rates.

A cell without dependencies, such as one of ``aa``, resolves to a trial immediately. A cell of a
focused architecture waits until the ``aa`` trials that select its layers have finished, and is lost
if one of them has failed. If rates are tuned, a cell waits for the trials that try them.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from aa_ray.core.architectures import Layers, last
from aa_ray.study.grid import Cell, Study
from aa_ray.study.tuning import Choice
from aa_ray.trial import Trial

# The columns of rows that this module reads.
RESOLVE_COLUMNS = ("trial_id", "status", "error", "selected_layers", "dev_metric", "dev_chance",
                   "dev_chance_error")  # fmt: skip

# An ``aa`` trial decides layers only if its best development score is above chance by more than
# this many standard errors. Otherwise its switches have had nothing to learn from.
ERRORS_ABOVE_CHANCE = 2.0

Row = Mapping[str, Any]
Lookup = Callable[[Cell], Row | None]


def one_row(rows: Sequence[Row]) -> Row:
    """All rows of a trial as one, for decisions that depend on the trial.

    A trial with several inference depths has one row per depth, each with its development score.
    Since it is a single training run with one learning rate, the mean is used. A failure counts
    only if no later attempt has finished.
    """
    finished = [row for row in rows if row["status"] == "finished"] or rows
    scores = [row.get("dev_metric") for row in finished]
    known = [score for score in scores if score is not None]
    if len(known) < 2:
        return finished[-1]
    return {**finished[-1], "dev_metric": math.fsum(known) / len(known)}


class Unresolved(Enum):
    """The reason why a cell has no trial."""

    WAITING = "a trial that decides its layers or rates has no row yet"
    LOST = "a trial that decides its layers has failed"


def resolve(study: Study, cell: Cell, row_of: Lookup) -> Trial | Unresolved:
    """The cell's trial, or why it has none; ``row_of`` returns the row of a cell, if any."""
    tuning = [row_of(need) for of_step in study.tuning_cells(cell) for need in of_step]
    selecting = [row_of(need) for need in study.needs(cell)[: -len(tuning) or None]]
    if any(row is not None and row["status"] == "failed" for row in selecting):
        return Unresolved.LOST
    if any(row is None for row in (*selecting, *tuning)):
        return Unresolved.WAITING
    made = [selection(row, study.backbone.num_layers) for row in selecting if row is not None]
    choice = tuned(study, cell, row_of)
    if choice is not None and choice.means == (-math.inf,) * len(choice.means):
        return Unresolved.LOST
    return study.trial(cell, made, choice.rates if choice else None)


def selection(row: Row, num_layers: int) -> Layers:
    """The layers that a finished ``aa`` trial selects for other methods.

    A trial at chance on its development set selects nothing; the upper half of the layers is used
    instead.
    """
    if at_chance(row):
        return last(num_layers, math.ceil(num_layers / 2))
    return tuple(row["selected_layers"])


def stand_in_text(cells: Iterable[Cell], num_layers: int) -> str:
    """The note on ``aa`` trials at chance; empty without any."""
    names = ", ".join(f"{cell.task} {cell.regime}" for cell in cells)
    count = math.ceil(num_layers / 2)
    return names and (
        f"AA is at chance on its development set ({names}), so its switches select nothing for "
        f"other methods; the last {count} of {num_layers} layers are used instead."
    )


def at_chance(row: Row) -> bool:
    """Whether a trial's development score is at chance level; False if the row cannot tell."""
    chance, error = row.get("dev_chance"), row.get("dev_chance_error")
    if chance is None or error is None:
        return False
    return bool(row["dev_metric"] <= chance + ERRORS_ABOVE_CHANCE * error)


def tuned(study: Study, cell: Cell, row_of: Lookup) -> Choice | None:
    """The tuned rates of the cell; None if rates are not tuned, or rows are missing.

    A failed training run, for example at too high a rate, counts as worse than any other.
    """
    if study.tuning is None:
        return None
    rows = [[row_of(need) for need in of_step] for of_step in study.tuning_cells(cell)]
    if not rows or any(row is None for of_step in rows for row in of_step):
        return None
    return study.tuning.choose(
        [[_development(row) for row in of_step if row is not None] for of_step in rows]
    )


def _development(row: Row) -> float:
    return float(row["dev_metric"]) if row["status"] == "finished" else -math.inf


class Resolver:
    """The trials of a study's cells, as far as existing rows decide them.

    Attributes:
        rows: trial id -> its row; ``one_row`` of a trial with several inference depths.
        trials: cell -> its trial.
        cells: trial id -> the cells that resolve to it. The first one names it.
        waiting, lost: the cells without a trial, in order (the values are None).

    Args:
        study: the study.
        rows: rows of any trials, with at least ``RESOLVE_COLUMNS``.
    """

    def __init__(self, study: Study, rows: Iterable[Row] = ()) -> None:
        self.study = study
        of_trials: dict[str, list[Row]] = {}
        for row in rows:
            of_trials.setdefault(row["trial_id"], []).append(row)
        self.rows = {trial_id: one_row(of_trial) for trial_id, of_trial in of_trials.items()}
        self.trials: dict[Cell, Trial] = {}
        self.cells: dict[str, list[Cell]] = {}
        self.waiting: dict[Cell, None] = dict.fromkeys(study.cells)
        self.lost: dict[Cell, None] = {}
        self._dependents: dict[Cell, list[Cell]] = {}
        for cell in study.cells:  # in order of dependency
            for need in study.needs(cell):
                self._dependents.setdefault(need, []).append(cell)
            self._resolve(cell)

    def add(self, row: Row) -> list[Cell]:
        """Record a trial's ``one_row``; returns the cells whose trial becomes known by it."""
        self.rows[row["trial_id"]] = row
        resolved: list[Cell] = []
        settled = list(self.cells.get(row["trial_id"], ()))
        while settled:
            for cell in self._dependents.get(settled.pop(), ()):
                if not self._resolve(cell):
                    continue
                if cell in self.trials:
                    resolved.append(cell)
                if cell in self.lost or self.row(cell) is not None:  # others may depend on it
                    settled.append(cell)
        return resolved

    def stand_ins(self, cells: Iterable[Cell]) -> list[Cell]:
        """The ``aa`` cells at chance, which therefore select no layers for these cells."""
        selecting = [need for cell in cells for need in self.study.selecting_cells(cell)]
        rows = {need: self.row(need) for need in dict.fromkeys(selecting)}
        return [
            need
            for need, row in rows.items()
            if row is not None and row["status"] == "finished" and at_chance(row)
        ]

    def forget_failures(self) -> list[Row]:
        """Drop the rows of failed trials and return them; cells lost with them wait again."""
        failed = [row for row in self.rows.values() if row["status"] == "failed"]
        for row in failed:
            del self.rows[row["trial_id"]]
        self.waiting |= self.lost
        self.lost = {}
        return failed

    def failures(self) -> list[tuple[Cell, str]]:
        """The failed trials with their errors."""
        named = ((cells[0], self.rows.get(trial_id)) for trial_id, cells in self.cells.items())
        return [(cell, row["error"]) for cell, row in named if row and row["status"] == "failed"]

    def row(self, cell: Cell) -> Row | None:
        """A row of the cell's trial; None if it has none."""
        trial = self.trials.get(cell)
        return None if trial is None else self.rows.get(trial.id)

    def _resolve(self, cell: Cell) -> bool:
        """Resolve a waiting cell; returns whether it now has a trial or is lost."""
        if cell not in self.waiting:
            return False
        trial: Trial | Unresolved = Unresolved.LOST
        if not any(need in self.lost for need in self.study.needs(cell)):
            trial = resolve(self.study, cell, self.row)
        if trial is Unresolved.WAITING:
            return False
        del self.waiting[cell]
        if isinstance(trial, Unresolved):
            self.lost[cell] = None
        else:
            self.trials[cell] = trial
            self.cells.setdefault(trial.id, []).append(cell)
        return True
