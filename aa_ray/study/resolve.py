"""From cells to trials: which trial a cell is, given the rows of trials that select its layers.

A cell without needs, such as one of ``aa``, is a trial at once. A cell of a focused architecture
waits until the ``aa`` trials that select its layers have finished, and is lost if one has failed.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from aa_ray.study.grid import Cell, Study
from aa_ray.trial import Trial

# The columns of rows that are looked at here.
RESOLVE_COLUMNS = ("trial_id", "status", "error", "selected_layers")

Row = Mapping[str, Any]


class Unresolved(Enum):
    """Why a cell has no trial."""

    WAITING = "a trial that selects its layers has no row yet"
    LOST = "a trial that selects its layers has failed"


def resolve(study: Study, cell: Cell, row_of: Callable[[Cell], Row | None]) -> Trial | Unresolved:
    """The cell's trial, or why it has none; ``row_of`` gives the row of a cell, if it has one."""
    rows = [row_of(need) for need in study.needs(cell)]
    known = [row for row in rows if row is not None]
    if any(row["status"] == "failed" for row in known):
        return Unresolved.LOST
    if len(known) < len(rows):
        return Unresolved.WAITING
    return study.trial(cell, [tuple(row["selected_layers"]) for row in known])


class Resolver:
    """The trials of a study's cells, as far as the rows so far decide them.

    Attributes:
        rows: trial id -> its row; any one of a trial with several inference depths.
        trials: cell -> its trial.
        cells: trial id -> the cells that are this trial. The first names it.
        waiting, lost: the cells without a trial, in order (the values are None).

    Args:
        study: the study.
        rows: of any trials, with at least ``RESOLVE_COLUMNS``.
    """

    def __init__(self, study: Study, rows: Iterable[Row] = ()) -> None:
        self.study = study
        self.rows = {row["trial_id"]: row for row in rows}
        self.trials: dict[Cell, Trial] = {}
        self.cells: dict[str, list[Cell]] = {}
        self.waiting: dict[Cell, None] = dict.fromkeys(study.cells)
        self.lost: dict[Cell, None] = {}
        self._dependents: dict[Cell, list[Cell]] = {}
        for cell in study.cells:  # in an order in which none comes before what it needs
            for need in study.needs(cell):
                self._dependents.setdefault(need, []).append(cell)
            self._resolve(cell)

    def add(self, row: Row) -> list[Cell]:
        """Take note of a row; the cells whose trial is known now and was not before."""
        self.rows[row["trial_id"]] = row
        needed = self.cells.get(row["trial_id"], ())
        dependents = [cell for need in needed for cell in self._dependents.get(need, ())]
        return [cell for cell in dependents if self._resolve(cell)]

    def forget_failures(self) -> list[Row]:
        """Drop the rows of failed trials; what was lost with them waits again. The rows dropped."""
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
        """A row of the cell's trial; None where there is none."""
        trial = self.trials.get(cell)
        return None if trial is None else self.rows.get(trial.id)

    def _resolve(self, cell: Cell) -> bool:
        """Whether a cell that was waiting has its trial now."""
        if cell not in self.waiting:
            return False
        trial = resolve(self.study, cell, self.row)
        if trial is Unresolved.WAITING:
            return False
        del self.waiting[cell]
        if isinstance(trial, Unresolved):
            self.lost[cell] = None
            return False
        self.trials[cell] = trial
        self.cells.setdefault(trial.id, []).append(cell)
        return True
