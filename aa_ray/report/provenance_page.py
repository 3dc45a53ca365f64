"""What the results of a study rest on: how far it is, where its rows come from, each training."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aa_ray.core.architectures import AA
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.data import tasks
from aa_ray.report.paper_tables import METRIC_TITLES
from aa_ray.report.results import Line, Results
from aa_ray.store.rows import Row
from aa_ray.study import forecast
from aa_ray.study.forecast import duration
from aa_ray.trial import Trial


@dataclass(frozen=True)
class Gap:
    """The cells of a method and regime that have no row.

    Attributes:
        title, regime: of the method and the regime.
        expected, finished, failed: numbers of cells (task x seed).
    """

    title: str
    regime: str
    expected: int
    finished: int
    failed: int


def gaps(results: Results) -> list[Gap]:
    """The methods and regimes that are not complete."""
    found = []
    titles = {line.method: line.title for line in results.lines()}  # one of AdapterDrop's two
    for regime in results.study.regimes:
        for method in results.study.methods:
            cells = [c for c in results.study.grid() if (c.method, c.regime) == (method, regime)]
            rows = [results.queue.row(cell) for cell in cells]
            states = Counter(row["status"] for row in rows if row is not None)
            if states["finished"] < len(cells):
                title = "AdapterDrop" if method == "adapter-drop" else titles[method]
                where = results.regime_title(regime)
                found.append(Gap(title, where, len(cells), states["finished"], states["failed"]))
    return found


@dataclass
class Training:
    """One row as the report shows it, under every name that means it.

    Attributes:
        titles: of the lines of tables that the row serves.
        row: the row.
    """

    titles: list[str]
    row: Row

    @property
    def layers(self) -> str:
        """The adapter layers in use: those selected where there are switches."""
        selected = self.row["selected_layers"]
        chosen = self.row["adapter_layers"] if selected is None else selected
        return " ".join(map(str, chosen)) or "none"

    @property
    def time(self) -> str:
        """Training and test; of an array, this trial's share."""
        return duration(forecast.seconds(self.row))

    @property
    def commit(self) -> str:
        return commit(self.row)


@dataclass
class Group:
    """The trainings of one task and regime.

    Attributes:
        key: short and unique on a page.
        title: for people.
        metric: the deciding metric's name.
        trainings: in the order of tables.
    """

    key: str
    title: str
    metric: str
    trainings: list[Training] = field(default_factory=list)

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Per architecture its trainings' curves, for JSON: development metric x 100 and loss."""
        architectures: dict[str, dict[str, dict[str, Any]]] = {}
        named: dict[str, list[str]] = {}
        for training in self.trainings:  # the depths of one AdapterDrop training share it
            named.setdefault(training.row["trial_id"], []).extend(training.titles)
        for training in self.trainings:
            row = training.row
            name = ", ".join(dict.fromkeys(named[row["trial_id"]]))
            architectures.setdefault(name, {})[row["trial_id"]] = {
                "seed": row["seed"],
                "best": row["best_epoch"],
                "metric": [_short(100 * point["dev_metric"]) for point in row["curves"]],
                "loss": [_short(point["train_loss"]) for point in row["curves"]],
            }
        return [{"title": t, "runs": list(runs.values())} for t, runs in architectures.items()]


def _short(value: float) -> float | None:
    """Four digits, as many as a chart can show; JSON has no NaN."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def groups(results: Results) -> list[Group]:
    """The finished trainings by regime and task, those that others depend on included."""
    study = results.study
    found = []
    for regime, task in dict.fromkeys((cell.regime, cell.task) for cell in _ordered(results)):
        title = f"{tasks.get(task).title}, {results.regime_title(regime)}"
        group = Group(f"{task}-{regime}", title, METRIC_TITLES[tasks.get(task).metrics[0]])
        of_grid = task in study.tasks and regime in study.regimes
        lines = results.lines() if of_grid else [Line("AA", AA)]
        seen: dict[tuple[str, int], Training] = {}
        for line in lines:
            for seed in dict.fromkeys([*results.seeds(regime), *_first_seeds(results, line)]):
                row = results.row(line, task, regime, seed)
                if row is not None:
                    key = (row["trial_id"], len(row["adapter_layers"]))
                    seen.setdefault(key, Training([], row)).titles.append(line.title)
        group.trainings = list(seen.values())
        if group.trainings:
            found.append(group)
    return found


def _ordered(results: Results) -> Iterable[Any]:
    """The grid's cells, then those that it depends on."""
    return [*results.study.grid(), *results.study.cells]


def _first_seeds(results: Results, line: Line) -> list[int]:
    """The seeds of ``aa`` trials that decide layers, where the study itself does not have them."""
    return sorted({cell.seed for cell in results.study.cells if cell.method == line.method == AA})


def commit(row: Row) -> str:
    """The row's commit, short, and whether the checkout had changes."""
    return (row["commit"] or "unknown")[:10] + ("+changes" if row["dirty"] else "")


def distinct(results: Results) -> list[Row]:
    """One row of each finished trial that the study uses."""
    return list({row["trial_id"]: row for row in results.used}.values())


def provenance(results: Results) -> list[tuple[str, list[str]]]:
    """What the rows say about code, packages, machines, data and settings: (what, values)."""
    rows = distinct(results)
    used: dict[str, set[str]] = {}
    for row in rows:
        for package, version in json.loads(row["versions"]).items():
            used.setdefault(package, set()).add(version)
    versions = [f"{name} {', '.join(sorted(found))}" for name, found in sorted(used.items())]
    hosts = [name for row in rows for name in (row["hosts"] or [row["host"]])]
    facts = [
        ("Code", [f"commit {text}" for text in _counted(map(commit, rows))]),
        ("Packages", [", ".join(versions)] if versions else []),
        ("Devices", _counted(row["device"] for row in rows)),
        ("Machines", _counted(hosts)),
        ("Data", _counted(f"{tasks.get(r['task']).title}: {r['data_source']}" for r in rows)),
        ("Backbone", _counted(f"{r['backbone']}, SHA-256 {r['backbone_sha256']}" for r in rows)),
        ("Settings", _settings(rows)),
        ("When", _when(rows)),
        ("Interruptions", _interruptions(rows)),
    ]
    return [(what, values) for what, values in facts if values]


def _counted(values: Iterable[str]) -> list[str]:
    """Each value once, with its number of trainings where they differ."""
    counts = Counter(values)
    if len(counts) == 1:
        return list(counts)
    return [f"{value} ({n} training{'s' if n > 1 else ''})" for value, n in counts.items()]


# What tells a study's trials apart anyway, or has a line of its own.
_NOT_SETTINGS = frozenset(
    "task regime seed backbone data layers activation switched inference_depths".split()
)


def _settings(rows: list[Row]) -> list[str]:
    """Every setting with the values that occur, those that paper and code do not share last."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in dataclasses.asdict(Trial.from_json(row["settings"])).items():
            if name not in _NOT_SETTINGS:
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                found.setdefault(name, {})[shown] = None
    texts = {name: f"{name} = {' or '.join(values)}" for name, values in found.items()}
    common = ", ".join(text for name, text in texts.items() if name not in DEVIATIONS)
    differing = ", ".join(text for name, text in texts.items() if name in DEVIATIONS)
    return [common, f"where paper and released code differ: {differing}"] if rows else []


def _when(rows: list[Row]) -> list[str]:
    if not rows:
        return []

    def shown(when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M} UTC"

    first = min(row["started_at"] for row in rows)
    last = max(row["finished_at"] for row in rows)
    total = duration(sum(forecast.seconds(row) for row in rows))
    return [f"{shown(first)} to {shown(last)}", f"{total} of training and test in all"]


def _interruptions(rows: list[Row]) -> list[str]:
    resumed = [row for row in rows if row["resumed_after"]]
    side_by_side = [row for row in rows if row["array"]]
    texts = []
    if resumed:
        verb = "training was" if len(resumed) == 1 else "trainings were"
        texts.append(f"{len(resumed)} {verb} interrupted and went on from a checkpoint")
    if side_by_side:
        arrays = {tuple(row["array"] or ()) for row in side_by_side}
        texts.append(f"{len(side_by_side)} trainings ran side by side, in {len(arrays)} arrays")
    return texts
