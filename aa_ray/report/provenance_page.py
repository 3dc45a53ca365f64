"""The basis of a study's results: its completeness, its training runs, and their provenance."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aa_ray.core import architectures
from aa_ray.core.architectures import AA
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.data import tasks
from aa_ray.report.results import Line, Results, inference_depth, layers_in_use
from aa_ray.report.text import METRIC_TITLES, commit_text, listed
from aa_ray.study import forecast
from aa_ray.study.forecast import duration
from aa_ray.study.grid import CELL_FIELDS, Study
from aa_ray.trial import Trial

if TYPE_CHECKING:  # imports pyarrow, which --help of a study does not need
    from aa_ray.store.rows import Row


@dataclass(frozen=True)
class Gap:
    """Missing rows of a method and regime.

    Attributes:
        title, regime: titles of the method and the regime.
        expected, finished, failed: numbers of cells (task x seed).
    """

    title: str
    regime: str
    expected: int
    finished: int
    failed: int


def gaps(results: Results) -> list[Gap]:
    """The methods and regimes that are not complete."""
    incomplete = []
    titles = _titles(results)
    for regime in results.study.regimes:
        for method in results.study.methods:
            cells = [c for c in results.study.grid() if (c.method, c.regime) == (method, regime)]
            states = Counter(map(results.status, cells))
            if states["finished"] < len(cells):
                counts = (len(cells), states["finished"], states["failed"])
                incomplete.append(Gap(titles[method], results.regime_title(regime), *counts))
    return incomplete


def _titles(results: Results) -> dict[str, str]:
    """Method -> title; for several lines from one training run, their common part."""
    titles: dict[str, list[str]] = {}
    for line in results.lines():
        titles.setdefault(line.method, []).append(line.title)
    return {
        method: several[0] if len(several) == 1 else several[0].partition("^")[0]
        for method, several in titles.items()
    }


@dataclass
class TrainingRun:
    """One row as the report shows it, with the titles of all lines that use it.

    Attributes:
        titles: titles of the table lines that use the row.
        row: the row.
    """

    titles: list[str]
    row: Row

    @property
    def layers(self) -> str:
        """The adapter layers used."""
        return listed(layers_in_use(self.row), " ")

    @property
    def time(self) -> str:
        """Time of training and test; the trial's share if it trained in a group."""
        return duration(forecast.seconds(self.row))

    @property
    def commit(self) -> str:
        return commit_text(self.row)


@dataclass
class Group:
    """The training runs of one task and regime.

    Attributes:
        key: a short name, unique on a page.
        title: its title on the page.
        metric: the deciding metric's name.
        runs: the training runs in the order of tables.
    """

    key: str
    title: str
    metric: str
    runs: list[TrainingRun] = field(default_factory=list)

    @property
    def curves(self) -> list[dict[str, Any]]:
        """The curves of each architecture's runs, for JSON: development metric x 100 and loss."""
        by_title: dict[str, dict[str, dict[str, Any]]] = {}
        titles: dict[str, list[str]] = {}
        for run in self.runs:  # the depths of an AdapterDrop run share one curve
            titles.setdefault(run.row["trial_id"], []).extend(run.titles)
        for run in self.runs:
            row = run.row
            title = listed(dict.fromkeys(titles[row["trial_id"]]))
            by_title.setdefault(title, {})[row["trial_id"]] = {
                "seed": row["seed"],
                "best": row["best_epoch"],
                "metric": [_short(100 * point["dev_metric"]) for point in row["curves"]],
                "loss": [_short(point["train_loss"]) for point in row["curves"]],
            }
        return [{"title": t, "runs": list(runs.values())} for t, runs in by_title.items()]


def _short(value: float) -> float | None:
    """The value with four digits, enough for a chart; None for NaN, which JSON lacks."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def groups(results: Results) -> list[Group]:
    """The finished training runs by regime and task, including those that others depend on."""
    study = results.study
    cells = [*study.grid(), *study.cells]  # first the grid, then what it depends on
    nonempty = []
    for regime, task in dict.fromkeys((cell.regime, cell.task) for cell in cells):
        title = f"{tasks.get(task).title}, {results.regime_title(regime)}"
        group = Group(f"{task}-{regime}", title, METRIC_TITLES[tasks.get(task).metrics[0]])
        group.runs = _runs(results, task, regime)
        if group.runs:
            nonempty.append(group)
    return nonempty


def _runs(results: Results, task: str, regime: str) -> list[TrainingRun]:
    """The training runs of one task and regime, each once with all its titles."""
    study = results.study
    in_grid = task in study.tasks and regime in study.regimes
    lines = results.lines() if in_grid else [Line(architectures.get(AA).title, AA)]
    by_trial: dict[tuple[str, int], TrainingRun] = {}
    for line in lines:
        for seed in dict.fromkeys([*study.seeds_of(regime), *_needed_seeds(study, line)]):
            row = results.row(line, task, regime, seed)
            if row is not None:
                key = (row["trial_id"], inference_depth(row))
                by_trial.setdefault(key, TrainingRun([], row)).titles.append(line.title)
    return list(by_trial.values())


def _needed_seeds(study: Study, line: Line) -> list[int]:
    """The seeds of ``aa`` trials that decide layers but are not among the study's seeds."""
    return sorted({cell.seed for cell in study.cells if cell.method == line.method == AA})


def distinct(results: Results) -> list[Row]:
    """One row of each finished trial that the study uses."""
    return list({row["trial_id"]: row for row in results.used}.values())


def provenance(results: Results) -> list[tuple[str, list[str]]]:
    """Code, packages, machines, data and settings of the rows: (heading, values)."""
    rows = distinct(results)
    hosts = [name for row in rows for name in (row["hosts"] or [row["host"]])]
    facts = [
        ("Code", [f"commit {text}" for text in _counted(map(commit_text, rows))]),
        ("Packages", _packages(rows)),
        ("Devices", _counted(row["device"] for row in rows)),
        ("Machines", _counted(hosts)),
        ("Data", _counted(f"{tasks.get(r['task']).title}: {r['data_source']}" for r in rows)),
        ("Backbone", _counted(f"{r['backbone']}, SHA-256 {r['backbone_sha256']}" for r in rows)),
        ("Settings", _settings(rows)),
        ("When", _when(rows)),
        ("Interruptions", _interruptions(rows)),
    ]
    return [(what, values) for what, values in facts if values]


def _packages(rows: list[Row]) -> list[str]:
    """All packages with the versions that occur, in one line."""
    versions: dict[str, set[str]] = {}
    for row in rows:
        for package, version in json.loads(row["versions"]).items():
            versions.setdefault(package, set()).add(version)
    texts = [f"{package} {listed(sorted(of_it))}" for package, of_it in sorted(versions.items())]
    return [listed(texts)] if texts else []


def _counted(values: Iterable[str]) -> list[str]:
    """Each value once, with its number of training runs if values differ."""
    counts = Counter(values)
    if len(counts) == 1:
        return list(counts)
    return [f"{value} ({n} training run{'s' if n > 1 else ''})" for value, n in counts.items()]


# Settings in which a study's trials differ anyway, or which have a separate line.
_NOT_SETTINGS = CELL_FIELDS | {"backbone"}


def _settings(rows: list[Row]) -> list[str]:
    """All settings with the values that occur; those where paper and code differ come last."""
    values: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in dataclasses.asdict(Trial.from_json(row["settings"])).items():
            if name not in _NOT_SETTINGS:
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                values.setdefault(name, {})[shown] = None
    texts = {name: f"{name} = {' or '.join(shown)}" for name, shown in values.items()}
    common = listed(text for name, text in texts.items() if name not in DEVIATIONS)
    differing = listed(text for name, text in texts.items() if name in DEVIATIONS)
    return [common, f"where paper and released code differ: {differing}"] if rows else []


def _when(rows: list[Row]) -> list[str]:
    if not rows:
        return []

    def shown(when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M} UTC"

    first = min(row["started_at"] for row in rows)
    last = max(row["finished_at"] for row in rows)
    total = duration(sum(forecast.seconds(row) for row in rows))
    return [f"{shown(first)} to {shown(last)}", f"{total} of training and test in total"]


def _interruptions(rows: list[Row]) -> list[str]:
    resumed = [row for row in rows if row["resumed_after"]]
    side_by_side = [row for row in rows if row["array"]]
    texts = []
    if resumed:
        verb = "training run was" if len(resumed) == 1 else "training runs were"
        texts.append(f"{len(resumed)} {verb} interrupted and continued from a checkpoint")
    if side_by_side:
        groups = {tuple(row["array"] or ()) for row in side_by_side}
        texts.append(
            f"{len(side_by_side)} training runs trained side by side, in {len(groups)} groups"
        )
    return texts
