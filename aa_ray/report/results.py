"""The rows of a study by line, task, regime and seed: the basis of tables and figures."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aa_ray.core import architectures, deviations
from aa_ray.core.architectures import AA, FIRST_SEED, UNI, N, Selection
from aa_ray.data import regimes
from aa_ray.errors import UsageError
from aa_ray.report import statistics
from aa_ray.report.learned import Gate, State
from aa_ray.report.paired import Run, Runs, stratum
from aa_ray.report.statistics import Effect, Stratum, stratified_effect
from aa_ray.study.grid import CELL_FIELDS, PLAIN, RATE_FIELDS, Cell, Study
from aa_ray.study.resolve import Resolver, selection, stand_in_text, tuned
from aa_ray.study.tuning import Choice
from aa_ray.trial import Trial

if TYPE_CHECKING:  # imports pyarrow, which --help of a study does not need
    from aa_ray.store.rows import Row


@dataclass(frozen=True)
class Line:
    """A line of scores.

    Attributes:
        title: its label.
        method: the method that it shows.
        depth: AdapterDrop only: if the selection has N layers, the top N layers keep their
            adapters at inference.
        variant: the study's variant.
    """

    title: str
    method: str
    depth: Selection | None = None
    variant: str = PLAIN


class Results:
    """The rows of a study, found by line, task, regime and seed.

    Attributes:
        study: the study.
        used: the finished rows of the study's cells.

    Args:
        study: the study.
        rows: all of its rows, and any others.

    Raises:
        UsageError: two rows of one task, regime and seed used different examples, or rows differ
            in settings or in the backbone's weights.
    """

    def __init__(self, study: Study, rows: Iterable[Row]) -> None:
        self.study = study
        self._gate = Gate(study.source)
        self._finished: dict[str, list[Row]] = {}  # by trial id
        self._failed = []
        for row in rows:
            if row["status"] == "finished":
                self._finished.setdefault(row["trial_id"], []).append(row)
            else:
                self._failed.append(row)
        self._resolver = Resolver(study, self._rows())
        self._by_line: dict[tuple[Line, str], dict[str, dict[int, Row]]] = {}  # see ``rows``
        self.used = [row for cell in study.cells for row in self.finished(cell)]
        self._check_fingerprints()
        self._check_settings()

    def only(self, methods: Iterable[str]) -> Results:
        """The results restricted to these methods."""
        kept = tuple(name for name in methods if name in self.study.methods)
        return Results(dataclasses.replace(self.study, methods=kept), self._rows())

    def within(self, tasks: Iterable[str], regimes: Iterable[str]) -> Results:
        """The results restricted to these tasks and regimes."""
        kept_tasks, kept_regimes = set(tasks), set(regimes)
        kept = dataclasses.replace(
            self.study,
            tasks=tuple(task for task in self.study.tasks if task in kept_tasks),
            regimes=tuple(name for name in self.study.regimes if name in kept_regimes),
        )
        return Results(kept, self._rows())

    def lines(self) -> list[Line]:
        """The lines for the study's methods; AdapterDrop has one per inference depth."""
        return [
            Line(_numbered(line.title, self.uni_size()), name, line.depth)
            for name in self.study.methods
            for line in architectures.get(name).lines
        ]

    def rows(self, line: Line, regime: str) -> dict[str, dict[int, Row]]:
        """Task -> seed -> the line's row, for the study's tasks; seeds without a row are left out.

        Tables and statistics are computed from these.
        """
        if (line, regime) not in self._by_line:
            seeds = self.study.seeds_of(regime)
            self._by_line[line, regime] = {
                task: {
                    s: row for s in seeds if (row := self.row(line, task, regime, s)) is not None
                }
                for task in self.study.tasks
            }
        return self._by_line[line, regime]

    def row(self, line: Line, task: str, regime: str, seed: int) -> Row | None:
        """The row of a line in one cell; None if it has none so far."""
        cell = Cell(line.method, task, regime, seed, line.variant)
        rows = self.finished(cell)
        if line.depth is not None:
            depth = self.size(line.depth, cell)
            rows = [row for row in rows if inference_depth(row) == depth]
        return rows[0] if rows else None

    def trial(self, line: Line, task: str, regime: str, seed: int) -> Trial | None:
        """The trial of a line in one cell; None while it waits for others."""
        return self._resolver.trials.get(Cell(line.method, task, regime, seed, line.variant))

    def averages(
        self, line: Line, regime: str, tasks: Collection[str] | None = None
    ) -> list[float]:
        """Average score over the tasks, for each seed that has all of them; default all tasks."""
        rows = self.rows(line, regime)
        by_task = [rows[task] for task in self.study.tasks if tasks is None or task in tasks]
        first = by_task[0] if by_task else {}
        complete = [seed for seed in first if all(seed in of_task for of_task in by_task)]
        return [statistics.mean([score(of_task[seed]) for of_task in by_task]) for seed in complete]

    def parameters(self, line: Line, regime: str) -> list[int]:
        """Number of adapter parameters in use, for each existing row."""
        by_task = self.rows(line, regime).values()
        return [int(row["adapter_parameters"]) for rows in by_task for row in rows.values()]

    def state(self, line: Line, task: str, regime: str) -> State:
        """Whether the line has learned there, as far as rows and data show."""
        return self._gate.state(list(self.rows(line, regime)[task].values()))

    def chance(self, line: Line, task: str, regime: str) -> float | None:
        """The chance level (best constant answer) x 100; None if it is not known."""
        rows = list(self.rows(line, regime)[task].values())
        level = self._gate.chance(rows[0]) if rows else None
        return None if level is None else 100 * level.score

    def runs(self, line: Line, regime: str) -> dict[str, Runs]:
        """Task -> seed -> the line's training run."""
        return {
            task: {seed: Run(score(r), self._gate.took_off(r)) for seed, r in by_seed.items()}
            for task, by_seed in self.rows(line, regime).items()
        }

    def differences(
        self, first: Line, second: Line, regimes: Iterable[str]
    ) -> dict[tuple[str, str], Stratum]:
        """(Task, regime) -> score of the first line minus the second, paired by seed."""
        strata = {}
        for regime in regimes:
            ours, theirs = self.runs(first, regime), self.runs(second, regime)
            for task in self.study.tasks:
                strata[task, regime] = stratum((ours[task], theirs[task]))
        return strata

    def effect(self, first: Line, second: Line, regimes: Iterable[str]) -> Effect:
        """Score of the first line minus the second, paired over task, regime and seed."""
        return stratified_effect(self.differences(first, second, regimes))

    def stand_in_text(self) -> str:
        """The note on ``aa`` trials at chance that should have selected layers."""
        cells = self._resolver.stand_ins(self.study.grid())
        return stand_in_text(cells, self.study.backbone.num_layers)

    def choices(self) -> dict[tuple[str, str, str], Choice | None]:
        """(method, task, regime) -> its tuned rates; None while rows are missing.

        Empty if rates are not tuned.
        """
        study = self.study
        return {
            (cell.method, cell.task, cell.regime): tuned(study, cell, self._resolver.row)
            for cell in (study.grid() if study.tuning is not None else ())
            if cell.seed == study.seeds[0] and cell.variant == study.variants[0].name
        }

    def uni_size(self) -> int | None:
        """N, the number of layers of ``aa-focused-sim``; None if it is not known yet."""
        return self.size(N, Cell(AA, str(UNI.task), str(UNI.regime), FIRST_SEED))

    def size(self, needed: Selection, cell: Cell) -> int | None:
        """Number of layers of a selection that the cell needs; None if it is not known yet."""
        if needed.size_only and self.study.last_n is not None:
            return self.study.last_n
        row = self._resolver.row(self.study.selecting_cell(needed, cell))
        if row is None or row["status"] != "finished":
            return None
        return len(selection(row, self.study.backbone.num_layers))

    def status(self, cell: Cell) -> str | None:
        """The status of the cell's row, finished or failed; None if it has no row."""
        row = self._resolver.row(cell)
        return None if row is None else row["status"]

    def counts(self) -> Counter[str]:
        """Number of trials that are finished, failed and missing.

        A cell that is not resolved yet counts as one missing trial.
        """
        rows = map(self._resolver.rows.get, self._resolver.cells)
        counts = Counter("missing" if row is None else row["status"] for row in rows)
        counts["missing"] += len(self._resolver.waiting) + len(self._resolver.lost)
        return counts

    def failures(self) -> list[tuple[Cell, str]]:
        """The failed trials with their errors."""
        return self._resolver.failures()

    def regime_title(self, regime: str) -> str:
        """The regime's name in the paper's tables."""
        return regimes.get(regime).title

    def _rows(self) -> Iterator[Row]:
        """All rows, finished ones last, so that they override failures of the same trial."""
        return itertools.chain(self._failed, *self._finished.values())

    def finished(self, cell: Cell) -> list[Row]:
        """The cell's finished rows."""
        trial = self._resolver.trials.get(cell)
        return [] if trial is None else self._finished.get(trial.id, [])

    def _check_fingerprints(self) -> None:
        seen: dict[tuple[Any, ...], str] = {}
        for row in self.used:
            key = (row["task"], row["regime"], row["seed"])
            if seen.setdefault(key, row["data_fingerprint"]) != row["data_fingerprint"]:
                raise UsageError(
                    f"rows of task {key[0]}, regime {key[1]}, seed {key[2]} used different "
                    "examples (data_fingerprint); use another --results folder for the other data"
                )

    def _check_settings(self) -> None:
        """Refuse rows that differ in settings in which a table's cells must agree."""
        if len(self.study.variants) > 1:
            return
        differing = CELL_FIELDS | (RATE_FIELDS if self.study.tuning is not None else frozenset())
        seen: dict[str, Any] = {}
        rows = [(cell, row) for cell in self.study.cells for row in self.finished(cell)]
        for cell, row in rows:
            trial = Trial.from_json(row["settings"])
            # Full fine-tuning is the method itself here, not a setting of the study.
            own = {"empty_selection"} if architectures.get(cell.method).fine_tunes else set()
            settings = {
                name: value
                for name, value in asdict(trial).items()
                if name not in differing | own and deviations.applies(name, trial)
            }
            for name, value in (settings | {"backbone_sha256": row["backbone_sha256"]}).items():
                if seen.setdefault(name, value) != value:
                    raise UsageError(
                        f"rows differ in {name} ({seen[name]} and {value}) and cannot be averaged; "
                        f"{row['trial_id']} is one of them: use another --results folder"
                    )


def score(row: Row) -> float:
    """The test metric x 100."""
    return 100 * row["test_metric"]


def layers_in_use(row: Row) -> list[int]:
    """The adapter layers used in the test: with switches, the selected ones."""
    selected = row["selected_layers"]
    return list(row["adapter_layers"] if selected is None else selected)


def inference_depth(row: Row) -> int:
    """AdapterDrop: number of layers from the top whose adapters were used in the test.

    In rows older than the column ``inference_depth`` it is the number of their layers.
    """
    depth = row.get("inference_depth")
    return len(row["adapter_layers"]) if depth is None else depth


def _numbered(title: str, uni_size: int | None) -> str:
    """The title with a number instead of N, N-1 or N-2 after its caret, once it is known."""
    head, caret, mark = title.partition("^N")
    if not caret or uni_size is None:
        return title
    return f"{head}^{max(0, uni_size + int(mark or 0))}"
