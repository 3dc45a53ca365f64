"""The paper's tables, from the rows of a study."""

import math
from collections.abc import Iterable

from aa_ray.core.backbones import MINILM
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.data.tasks import TASKS
from aa_ray.report import statistics
from aa_ray.report.results import Line, Results, shown_tasks
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.store.rows import Row
from aa_ray.study.grid import Study
from aa_ray.study.queue import TrialQueue

DASH = "–"


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


def method_table(name: str, queue: TrialQueue, rows: Iterable[Row]) -> Table:
    """Per regime the methods' scores and their numbers of layers, per task and averaged.

    Scores are test metrics x 100, mean and sample standard deviation over seeds. This is the layout
    of the paper's Tables 2, 3 and 4 and of its Appendix A; ``name`` goes into the caption.
    """
    return score_table(name, Results(queue, rows))


def score_table(name: str, results: Results) -> Table:
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


def _scores(results: Results, line: Line, regime: str) -> list[Entry]:
    """A line's scores per task, and their average."""
    values = results.values(line, regime, lambda row: 100 * row["test_metric"])
    expected = len(results.seeds(regime))
    entries = [_entry(list(by_seed.values()), expected) for by_seed in values.values()]
    return [*entries, _entry(results.averages(line, regime), expected)]


def _sizes(results: Results, line: Line, regime: str) -> list[Entry]:
    """A line's numbers of adapter layers: selected ones where there are switches."""

    def size(row: Row) -> float:
        layers = row["selected_layers"]
        return len(row["adapter_layers"] if layers is None else layers)

    values = results.values(line, regime, size)
    means = [statistics.mean(v) if v else None for v in ([*t.values()] for t in values.values())]
    known = [mean for mean in means if mean is not None]
    average = statistics.mean(known) if known else None
    return [
        Entry(DASH) if mean is None else Entry(f"{mean:.1f}".removesuffix(".0"), mean=mean)
        for mean in [*means, average]
    ]


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
    pooling = ", mean pooling" if study.backbone.pooling == "mean" else ""
    text = (
        f"{name}. Test scores x 100 (accuracy; F1 for QQP, MRPC; Matthews correlation for CoLA; "
        f"Spearman correlation for STS-B{metrics}), mean ± sample standard deviation over seeds; "
        "best per column and regime marked. |...|: adapter layers in use, mean over seeds.\n"
        f"Backbone {study.backbone.identity} ({study.backbone.num_layers} layers{pooling}); data "
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
