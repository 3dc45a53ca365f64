"""The finished rows of a study, found by cell: what tables, figures and claims are made from."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from aa_ray.core import architectures, deviations
from aa_ray.core.architectures import UNI
from aa_ray.data import regimes
from aa_ray.data.tasks import TASKS
from aa_ray.errors import UsageError
from aa_ray.report import statistics
from aa_ray.store.rows import Row
from aa_ray.study.grid import PLAIN, Cell, Study
from aa_ray.study.queue import TrialQueue
from aa_ray.trial import Trial

# Fields of a trial in which the cells of one table differ.
_OF_CELL = frozenset("task regime seed data layers activation switched inference_depths".split())


@dataclass(frozen=True)
class Line:
    """A line of scores: its label and method, for AdapterDrop whose depth it is read at, and the
    study's variant."""

    title: str
    method: str
    depth_of: str | None = None
    variant: str = PLAIN


def _numbered(title: str, uni: int | None) -> str:
    """The title with the number for N, N-1 or N-2 behind its caret, once it is known."""
    head, caret, mark = title.partition("^N")
    if not caret or uni is None:
        return title
    return f"{head}^{max(0, uni + int(mark or 0))}"


class Results:
    """The finished rows of a study, found by cell.

    Raises:
        UsageError: two rows of one task, regime and seed rest on different examples, or rows differ
            in settings or in the backbone's weights.
    """

    def __init__(self, queue: TrialQueue, rows: Iterable[Row]) -> None:
        self.queue = queue
        self.study = queue.study
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            if row["status"] == "finished":
                self._rows.setdefault(row["trial_id"], []).append(row)
        self.used = [row for cell in self.study.cells for row in self._of(cell)]
        self._check_fingerprints()
        self._check_settings()

    def only(self, methods: Iterable[str]) -> "Results":
        """The results of the study with those of its methods alone."""
        kept = tuple(name for name in methods if name in self.study.methods)
        rows = [row for of_trial in self._rows.values() for row in of_trial]
        return Results(TrialQueue(dataclasses.replace(self.study, methods=kept), rows), rows)

    def _of(self, cell: Cell) -> list[Row]:
        trial = self.queue.trial(cell)
        return self._rows.get(trial.id, []) if trial else []

    def _check_fingerprints(self) -> None:
        seen: dict[tuple[Any, ...], str] = {}
        for row in self.used:
            key = (row["task"], row["regime"], row["seed"])
            if seen.setdefault(key, row["data_fingerprint"]) != row["data_fingerprint"]:
                raise UsageError(
                    f"rows of task {key[0]}, regime {key[1]}, seed {key[2]} rest on different "
                    "examples (data_fingerprint); use another --results folder for the other data"
                )

    def _check_settings(self) -> None:
        """Refuse rows that differ in more than what tells the cells of a table apart."""
        if len(self.study.variants) > 1:
            return
        seen: dict[str, Any] = {}
        for row in self.used:
            trial = Trial.from_json(row["settings"])
            settings = {
                name: value
                for name, value in asdict(trial).items()
                if name not in _OF_CELL and deviations.applies(name, trial)
            }
            for name, value in (settings | {"backbone_sha256": row["backbone_sha256"]}).items():
                if seen.setdefault(name, value) != value:
                    raise UsageError(
                        f"rows differ in {name} ({seen[name]} and {value}) and cannot be averaged; "
                        f"{row['trial_id']} is one of them: use another --results folder"
                    )

    def lines(self) -> list[Line]:
        """The lines for the study's methods; AdapterDrop has one per inference depth."""
        found = []
        for name in self.study.methods:
            title = _numbered(architectures.get(name).title, self.uni_size())
            if name == "adapter-drop":
                found.append(Line("AdapterDrop^AA", name, "aa-focused-spec"))
                found.append(Line(title, name, "aa-focused-uni"))
            else:
                found.append(Line(title, name))
        return found

    def regime_title(self, regime: str) -> str:
        """As the paper's tables call it."""
        return regimes.get(regime).title

    def values(
        self, line: Line, regime: str, value: Callable[[Row], float]
    ) -> dict[str, dict[int, float]]:
        """Task -> seed -> value, of the rows that there are, for all tasks shown."""
        collected: dict[str, dict[int, float]] = {}
        for task in shown_tasks(self.study):
            seeds = self.seeds(regime) if task in self.study.tasks else ()
            found = {seed: self.row(line, task, regime, seed) for seed in seeds}
            collected[task] = {seed: value(row) for seed, row in found.items() if row is not None}
        return collected

    def averages(self, line: Line, regime: str) -> list[float]:
        """Average over the study's tasks x 100, of each seed that has them all."""
        values = self.values(line, regime, lambda row: 100 * row["test_metric"])
        of_study = [values[task] for task in self.study.tasks]
        complete = [seed for seed in of_study[0] if all(seed in by_seed for by_seed in of_study)]
        return [statistics.mean([by_seed[seed] for by_seed in of_study]) for seed in complete]

    def parameters(self, line: Line, regime: str) -> list[int]:
        """Parameters of the adapters in use, of each row that there is."""
        values = self.values(line, regime, lambda row: row["adapter_parameters"])
        return [int(v) for by_seed in values.values() for v in by_seed.values()]

    def seeds(self, regime: str) -> tuple[int, ...]:
        """The seeds that the regime is run with."""
        return self.study.seeds_of(regime)

    def row(self, line: Line, task: str, regime: str, seed: int) -> Row | None:
        """The row of a line in one cell; None while there is none."""
        cell = Cell(line.method, task, regime, seed, line.variant)
        rows = self._of(cell)
        if line.depth_of is None:
            return rows[0] if rows else None
        trial = self._as_if(line.depth_of, cell)
        matching = [r for r in rows if trial and len(r["adapter_layers"]) == len(trial.layers)]
        return matching[0] if matching else None

    def _as_if(self, method: str, cell: Cell) -> Any:
        """The trial of a method that the study itself may not contain; None while it waits."""
        other = cell._replace(method=method)
        selected = [self._of(need) for need in self.study.needs(other)]
        if not all(selected):
            return None
        return self.study.trial(
            other, [tuple(rows[0]["selected_layers"] or ()) for rows in selected]
        )

    def uni_size(self) -> int | None:
        """N, the number of layers of ``aa-focused-uni``; None while it is not known."""
        rows = self._of(Cell("aa", str(UNI.task), str(UNI.regime), architectures.FIRST_SEED))
        return len(rows[0]["selected_layers"] or ()) if rows else None


def shown_tasks(study: Study) -> tuple[str, ...]:
    """The columns of a table: all nine tasks, or the study's where it has some of one's own."""
    if any(TASKS[task].origin is not None for task in study.tasks):
        return study.tasks
    return tuple(task.name for task in TASKS.values() if task.origin is None)
