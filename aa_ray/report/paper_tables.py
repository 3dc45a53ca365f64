"""The paper's tables, from the rows of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aa_ray.core import architectures
from aa_ray.core.backbones import MINILM
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.data.tasks import TASKS
from aa_ray.report import statistics
from aa_ray.report.learned import State
from aa_ray.report.results import Line, Results, layers_in_use, score
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import METRIC_TITLES, commit_text, listed, seeds_text
from aa_ray.report.tuned_rates import rates_text
from aa_ray.study.grid import Study

if TYPE_CHECKING:  # imports pyarrow, which --help of a study does not need
    from aa_ray.store.rows import Row

# Text instead of a value that only rows could give.
NONE_YET = "none yet"

# Marks after the scores of cells that have not been learned.
MARKS = {State.CHANCE: "†", State.ONE_CLASS: "‡"}
LEARNED_AVERAGE = "Avg learned"

# See ``learned_tasks``.
LearnedTasks = dict[str, list[str]] | None


def table1(source: Source, names: Iterable[str] = tuple(TASKS)) -> Table:
    """Table 1: for each task the number of rows here and officially, and the metric.

    Tasks without data get a dash.

    Raises:
        UsageError: the folder does not exist, or a file in it is bad.
    """
    lines = []
    for task in map(tasks.get, names):
        here = [Entry(DASH), Entry(DASH)]
        if source.has(task.name):
            here = [Entry(f"{len(part)}", mean=len(part)) for part in source.load(task.name)]
        official = [Entry(f"{n}", mean=n) for n in (task.train_rows, task.test_rows)]
        lines.append((task.title, [*here, *official, Entry(METRIC_TITLES[task.metrics[0]])]))
    caption = (
        f"Table 1. The tasks, from {source.location}. Training rows are split into training (75 %) "
        "and development set; the official development rows are the test set."
    )
    columns = ["train", "test", "official train", "official dev", "metric"]
    return Table(caption, columns, [Section("GLUE", lines)])


def method_table(name: str, results: Results) -> Table:
    """Scores and numbers of layers of all methods per regime, by task and averaged.

    Scores are test metrics x 100, mean and sample standard deviation over seeds. This is the layout
    of the paper's Tables 2, 3 and 4 and of its Appendix A; ``name`` is for the caption.
    """
    lines = results.lines()
    counted = [line for line in lines if architectures.get(line.method).counts_layers]
    learned = learned_tasks(results, lines)
    sections = []
    for regime in results.study.regimes:
        scores = [(line.title, _scores(results, line, regime, learned)) for line in lines]
        counts = [(f"|{line.title}|", _sizes(results, line, regime, learned)) for line in counted]
        sections.append(Section(results.regime_title(regime), _with_best(scores) + counts))
    columns = [TASKS[task].title for task in shown_tasks(results.study)] + ["Avg"]
    columns += [LEARNED_AVERAGE] * (learned is not None)
    return Table(_caption(name, results, sections), columns, sections)


def learned_tasks(results: Results, lines: Iterable[Line]) -> dict[str, list[str]] | None:
    """Regime -> the tasks that any line has learned, or for which this is not known.

    None if these are all tasks.
    """
    kept: dict[str, list[str]] = {}
    ruled_out = False
    for regime in results.study.regimes:
        kept[regime] = []
        for task in results.study.tasks:
            states = [results.state(line, task, regime) for line in lines]
            if any(state.informative for state in states):
                kept[regime].append(task)
            ruled_out |= not all(state.informative for state in states)
    return kept if ruled_out else None


def shown_tasks(study: Study) -> tuple[str, ...]:
    """The columns of a table: all nine tasks, or the study's if some of them are custom."""
    if any(TASKS[task].origin is not None for task in study.tasks):
        return study.tasks
    return tuple(task.name for task in TASKS.values() if task.origin is None)


def _by_task(results: Results, line: Line, regime: str) -> list[list[Row]]:
    """The line's rows for each shown task, one per seed."""
    rows = results.rows(line, regime)
    return [list(rows.get(task, {}).values()) for task in shown_tasks(results.study)]


def _scores(results: Results, line: Line, regime: str, learned: LearnedTasks) -> list[Entry]:
    """A line's scores per task, and their averages."""
    expected = len(results.study.seeds_of(regime))
    entries = []
    for task, rows in zip(shown_tasks(results.study), _by_task(results, line, regime), strict=True):
        entry = _entry([score(row) for row in rows], expected)
        entries.append(_marked(entry, results.state(line, task, regime)) if rows else entry)
    entries.append(_entry(results.averages(line, regime), expected))
    if learned is not None:
        entries.append(_entry(results.averages(line, regime, learned[regime]), expected))
        if not learned[regime]:
            entries[-2] = entries[-2]._replace(state=State.CHANCE.value)
    return entries


def _marked(entry: Entry, state: State) -> Entry:
    """The entry with the mark of a cell that has not been learned."""
    if state is State.UNKNOWN:
        return entry
    return entry._replace(text=entry.text + MARKS.get(state, ""), state=state.value)


def _sizes(results: Results, line: Line, regime: str, learned: LearnedTasks) -> list[Entry]:
    """A line's numbers of adapter layers, by task and averaged."""
    by_task = _by_task(results, line, regime)
    means = [
        statistics.mean([len(layers_in_use(row)) for row in rows]) if rows else None
        for rows in by_task
    ]
    averages = [_average(means)]
    if learned is not None:
        columns = shown_tasks(results.study)
        averages.append(_average([means[columns.index(task)] for task in learned[regime]]))
    return [
        Entry(DASH) if mean is None else Entry(f"{mean:.1f}".removesuffix(".0"), mean=mean)
        for mean in [*means, *averages]
    ]


def _average(means: Iterable[float | None]) -> float | None:
    """The mean of the known values; None without any."""
    known = [mean for mean in means if mean is not None]
    return statistics.mean(known) if known else None


def _entry(values: list[float], expected: int) -> Entry:
    """Mean ± deviation, with the number of seeds if some are missing; a dash without values."""
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
    """Mark the highest score of each column (several if they print alike).

    Nothing is marked if no line has learned anything, since the highest score is chance.
    """
    marked = [(title, list(entries)) for title, entries in lines]
    for column in range(len(lines[0][1]) if lines else 0):
        means = [entries[column].mean for _, entries in lines]
        known = [mean for mean in means if mean is not None]
        states = {entries[column].state for _, entries in lines if entries[column].mean is not None}
        if len(known) < 2 or states <= {state.value for state in MARKS}:
            continue
        best = f"{max(known):.1f}"
        for (_, entries), mean in zip(marked, means, strict=True):
            if mean is not None and f"{mean:.1f}" == best:
                entries[column] = entries[column]._replace(best=True)
    return marked


def _caption(name: str, results: Results, sections: Sequence[Section]) -> str:
    """The caption: the meaning of the numbers, and how they were obtained."""
    study = results.study
    custom = [task for task in map(tasks.get, study.tasks) if task.origin is not None]
    metrics = "".join(f"; {METRIC_TITLES[t.metrics[0]]} for {t.title}" for t in custom)
    pooling = ", mean pooling" if study.backbone.pooling == "mean" else ""
    sources = _sources(results)
    commits = sorted({commit_text(row) for row in results.used})
    lines = [
        f"{name}. Test scores x 100 (accuracy; F1 for QQP, MRPC; Matthews correlation for CoLA; "
        f"Spearman correlation for STS-B{metrics}), mean ± sample standard deviation over seeds; "
        "best per column and regime marked. |...|: adapter layers in use, mean over seeds.",
        f"Backbone {study.backbone.identity} ({study.backbone.num_layers} layers{pooling}); data "
        f"{listed(sources, none=NONE_YET)}; seeds {seeds_text(study.seeds)}; {study.epochs} "
        f"epoch{'s' if study.epochs > 1 else ''}; {rates_text(results)}{_changed(study)}; "
        f"commit {listed(commits, none=NONE_YET)}.",
    ]
    if stand_in := results.stand_in_text():
        lines.append(f"Note: {stand_in}")
    if study.backbone.identity == MINILM:
        lines.append(
            "Note: this MiniLM was tuned for sentence similarity on data that includes Quora "
            "question pairs and NLI pairs."
        )
    lines[0] += _legend(sections)
    if any(source.startswith("embedded") for source in sources):
        lines.append("Note: generated sentences; they show that the software works, nothing else.")
    return "\n".join(lines)


def _legend(sections: Sequence[Section]) -> str:
    """The meaning of the marks in these sections."""
    entries = [entry for section in sections for _, line in section.lines for entry in line]
    states = {entry.state for entry in entries}
    legend = {
        State.CHANCE: "not above chance by more than three standard errors of the test set",
        State.ONE_CLASS: "one class: most of its models give the same answer to all examples",
    }
    shown = [f"{MARKS[s]} {text}" for s, text in legend.items() if s.value in states]
    if not shown:
        return ""
    return (
        f" {listed(shown, '; ')}; nothing is marked as best where no method has learned. "
        f"{LEARNED_AVERAGE}: over the tasks that at least one method has learned."
    )


def _sources(results: Results) -> list[str]:
    """The sources of the data. Rows name each task's local files differently; one name is shown."""
    named = {row["data_source"].partition("files-")[0] for row in results.used}
    return sorted(name or "from local files" for name in named)


def _changed(study: Study) -> str:
    """The settings in which the study differs from the defaults."""
    precision = f"; {study.precision}" if study.precision != "fp32" else ""
    settings = [setting for variant in study.variants for setting in variant.settings]
    return precision + "".join(f"; {name} = {value}" for name, value in settings)
