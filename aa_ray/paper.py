"""The paper's tables, from the rows of a study."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from aa_ray import architectures, deviations, statistics, tasks
from aa_ray.agenda import Agenda
from aa_ray.architectures import UNI
from aa_ray.backbones import MINILM
from aa_ray.data import Source
from aa_ray.errors import UsageError
from aa_ray.results import Row
from aa_ray.study import PLAIN, Cell, Study
from aa_ray.tables import Entry, Section, Table
from aa_ray.tasks import TASKS
from aa_ray.trial import Trial

# Fields of a trial in which the cells of one table differ.
_OF_CELL = frozenset("task regime seed data layers activation switched inference_depths".split())

DASH = "–"


@dataclass(frozen=True)
class Line:
    """A line of scores: its label and method, for AdapterDrop whose depth it is read at, and the
    study's variant."""

    title: str
    method: str
    depth_of: str | None = None
    variant: str = PLAIN


METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
}


def table1(source: Source, names: Iterable[str] = tuple(TASKS)) -> Table:
    """Table 1: per task the rows here and officially, and the metric; tasks not there get a dash.

    Raises:
        UsageError: the folder does not exist, or a file in it is bad.
    """
    lines = []
    for task in map(tasks.get, names):
        found = [Entry(DASH), Entry(DASH)]
        if source.has(task.name):
            found = [Entry(f"{len(part)}", mean=len(part)) for part in source.load(task.name)]
        official = [Entry(f"{n}", mean=n) for n in (task.train_rows, task.test_rows)]
        lines.append((task.title, [*found, *official, Entry(METRIC_TITLES[task.metrics[0]])]))
    caption = (
        f"Table 1. The tasks, from {source.location}. Training rows are split into training (75 %) "
        "and development set; the official development rows are the test set."
    )
    columns = ["train", "test", "official train", "official dev", "metric"]
    return Table(caption, columns, [Section("GLUE", lines)])


def method_table(name: str, agenda: Agenda, rows: Iterable[Row]) -> Table:
    """Per regime the methods' scores and their numbers of layers, per task and averaged.

    Scores are test metrics x 100, mean and sample standard deviation over seeds. This is the layout
    of the paper's Tables 2, 3 and 4 and of its Appendix A; ``name`` goes into the caption.
    """
    return score_table(name, Results(agenda, rows))


def score_table(name: str, results: "Results") -> Table:
    """``method_table`` of results that are there already."""
    lines = results.lines()
    sections = []
    for regime in results.study.regimes:
        scores = [(line.title, _scores(results, line, regime)) for line in lines]
        counted = [line for line in lines if line.method != "baseline"]
        counts = [(f"|{line.title}|", _sizes(results, line, regime)) for line in counted]
        sections.append(Section(results.regime_title(regime), _with_best(scores) + counts))
    columns = [TASKS[task].title for task in shown_tasks(results.study)] + ["Avg"]
    return Table(_caption(name, results), columns, sections)


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

    def __init__(self, agenda: Agenda, rows: Iterable[Row]) -> None:
        self.agenda = agenda
        self.study = agenda.study
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
        return Results(Agenda(dataclasses.replace(self.study, methods=kept), rows), rows)

    def _of(self, cell: Cell) -> list[Row]:
        trial = self.agenda.trial(cell)
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
        return "Full data" if regime == "full" else f"Low-data-{regime}"

    def averages(self, line: Line, regime: str) -> list[float]:
        """Average over the study's tasks x 100, of each seed that has them all."""
        values = _collect(self, line, regime, lambda row: 100 * row["test_metric"])
        of_study = [values[task] for task in self.study.tasks]
        complete = [seed for seed in of_study[0] if all(seed in by_seed for by_seed in of_study)]
        return [statistics.mean([by_seed[seed] for by_seed in of_study]) for seed in complete]

    def parameters(self, line: Line, regime: str) -> list[int]:
        """Parameters of the adapters in use, of each row that there is."""
        values = _collect(self, line, regime, lambda row: row["adapter_parameters"])
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
        return self.study.trial(other, [tuple(rows[0]["selected_layers"]) for rows in selected])

    def uni_size(self) -> int | None:
        """N, the number of layers of ``aa-focused-uni``; None while it is not known."""
        rows = self._of(Cell("aa", str(UNI.task), str(UNI.regime), architectures.FIRST_SEED))
        return len(rows[0]["selected_layers"]) if rows else None


def _scores(results: Results, line: Line, regime: str) -> list[Entry]:
    """A line's scores per task, and their average."""
    values = _collect(results, line, regime, lambda row: 100 * row["test_metric"])
    expected = len(results.seeds(regime))
    entries = [_entry(list(by_seed.values()), expected) for by_seed in values.values()]
    return [*entries, _entry(results.averages(line, regime), expected)]


def _sizes(results: Results, line: Line, regime: str) -> list[Entry]:
    """A line's numbers of adapter layers: selected ones where there are switches."""

    def size(row: Row) -> float:
        layers = row["selected_layers"]
        return len(row["adapter_layers"] if layers is None else layers)

    values = _collect(results, line, regime, size)
    means = [statistics.mean(v) if v else None for v in ([*t.values()] for t in values.values())]
    known = [mean for mean in means if mean is not None]
    average = statistics.mean(known) if known else None
    return [
        Entry(DASH) if mean is None else Entry(f"{mean:.1f}".removesuffix(".0"), mean=mean)
        for mean in [*means, average]
    ]


def shown_tasks(study: Study) -> tuple[str, ...]:
    """The columns of a table: all nine tasks, or the study's where it has some of one's own."""
    if any(TASKS[task].origin is not None for task in study.tasks):
        return study.tasks
    return tuple(task.name for task in TASKS.values() if task.origin is None)


def _collect(
    results: Results, line: Line, regime: str, value: Callable[[Row], float]
) -> dict[str, dict[int, float]]:
    """Task -> seed -> value, of the rows that there are, for all tasks shown."""
    collected: dict[str, dict[int, float]] = {}
    for task in shown_tasks(results.study):
        seeds = results.seeds(regime) if task in results.study.tasks else ()
        found = {seed: results.row(line, task, regime, seed) for seed in seeds}
        collected[task] = {seed: value(row) for seed, row in found.items() if row is not None}
    return collected


def _entry(values: list[float], expected: int) -> Entry:
    """Mean ± deviation, with the number of seeds where some are missing; a dash for nothing."""
    if not values:
        return Entry(DASH)
    mean, deviation = statistics.mean(values), statistics.deviation(values)
    text = f"{mean:.1f}"
    if not math.isnan(deviation):
        text += f"±{deviation:.1f}"
    if len(values) < expected:
        text += f" ({len(values)}/{expected})"
    shown = None if math.isnan(deviation) else deviation
    return Entry(text, mean=mean, deviation=shown, seeds=len(values))


def _with_best(lines: list[tuple[str, list[Entry]]]) -> list[tuple[str, list[Entry]]]:
    """Mark the highest score of each column (several where they print alike)."""
    marked = [(title, list(entries)) for title, entries in lines]
    for column in range(len(lines[0][1]) if lines else 0):
        means = [entries[column].mean for _, entries in lines]
        known = [mean for mean in means if mean is not None]
        if len(known) < 2:
            continue
        best = f"{max(known):.1f}"
        for (_, entries), mean in zip(marked, means, strict=True):
            if mean is not None and f"{mean:.1f}" == best:
                entries[column] = entries[column]._replace(best=True)
    return marked


def _caption(name: str, results: Results) -> str:
    """What the numbers are and what they rest on."""
    study = results.study
    seeds = ", ".join(map(str, study.seeds))
    own = [task for name in study.tasks if (task := TASKS[name]).origin is not None]
    metrics = "".join(f"; {METRIC_TITLES[t.metrics[0]]} for {t.title}" for t in own)
    # Files have a name per task, of their content; the rows hold them.
    sources = sorted({row["data_source"].partition("files-")[0] or "from local files"
                      for row in results.used})  # fmt: skip
    commits = sorted(
        {(row["commit"] or "unknown")[:10] + ("+changes" if row["dirty"] else "")
         for row in results.used}
    )  # fmt: skip
    rates = study.rates
    text = (
        f"{name}. Test scores x 100 (accuracy; F1 for QQP, MRPC; Matthews correlation for CoLA; "
        f"Spearman correlation for STS-B{metrics}), mean ± sample standard deviation over seeds; "
        "best per column and regime marked. |...|: adapter layers in use, mean over seeds.\n"
        f"Backbone {study.backbone.identity} ({study.backbone.num_layers} layers); data "
        f"{_listed(sources)}; seeds {seeds}; {study.epochs} epochs; learning rates "
        f"{rates.adapter:g} (adapters), {rates.rational:g} (rationals), {rates.switch:g} "
        f"(switches){_changed(study)}; commit {_listed(commits)}."
    )
    if study.backbone.identity == MINILM:
        text += (
            "\nNote: this MiniLM was tuned for sentence similarity on data that includes Quora "
            "question pairs and NLI pairs."
        )
    if any(source.startswith("embedded") for source in sources):
        text += "\nNote: generated sentences; they show that the software works, nothing else."
    return text


def _changed(study: Study) -> str:
    """The settings in which the study departs from the defaults."""
    precision = f"; {study.precision}" if study.precision != "fp32" else ""
    return precision + "".join(
        f"; {n} = {v}" for _, settings in study.variants for n, v in settings
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none yet"
