"""What each difference between paper and released code does to the average score."""

import dataclasses
from collections.abc import Iterable

from aa_ray.core.deviations import DEVIATIONS, Deviation
from aa_ray.report.paper_tables import DASH
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import stratified_effect
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.store.rows import Row
from aa_ray.study.grid import PLAIN, UNVARIED, Cell, Study, Variant
from aa_ray.study.queue import TrialQueue

# The architectures on which at least one difference acts.
METHODS = ("adapter-drop", "aa", "aa-focused-spec", "aa-focused-sim")


def alternatives(deviation: Deviation) -> list[str]:
    """The values other than the default."""
    return [value for value in deviation.choices if value != deviation.default]


def variant_name(deviation: Deviation, value: str) -> str:
    return f"{deviation.name}={value}"


def with_variants(study: Study) -> Study:
    """The study as it is, and again with one difference at a time turned the other way."""
    changed = [
        Variant(variant_name(deviation, value), ((deviation.name, value),))
        for deviation in DEVIATIONS.values()
        for value in alternatives(deviation)
    ]
    return study.with_variants([*UNVARIED, *changed])


def table(queue: TrialQueue, rows: Iterable[Row]) -> Table:
    """Per difference: what paper, released code and this project do, and the effect per method."""
    results = Results(queue, rows)
    sections = []
    for deviation in DEVIATIONS.values():
        for value in alternatives(deviation):
            lines = [
                (line.title, _entries(results, line, variant_name(deviation, value)))
                for line in results.lines()
                if _acts(results, line, variant_name(deviation, value))
            ]
            sections.append(Section(_heading(deviation, value), lines))
    study = queue.study
    caption = (
        "Fidelity. Each difference between paper and released code, turned the other way: change "
        "of the test score (x 100) against the default here, averaged over tasks and regimes, "
        "with a 95 % interval, paired over task, regime and seed. Selections follow each variant's "
        f"own aa trials. Backbone {study.backbone.identity}, tasks {', '.join(study.tasks)}, "
        f"regimes {', '.join(study.regimes)}, seeds {', '.join(map(str, study.seeds))}."
    )
    return Table(caption, ["change", "95 % interval", "pairs", "average here"], sections)


def _heading(deviation: Deviation, value: str) -> str:
    paper = deviation.paper or "does not say"
    return (
        f"{deviation.key} {deviation.about}: {deviation.name}={value}, {deviation.choices[value]} "
        f"(paper: {paper}, released code: {deviation.released}, here: {deviation.default})"
    )


def _cells(results: Results) -> Iterable[tuple[str, str, int]]:
    for regime in results.study.regimes:
        for task in results.study.tasks:
            for seed in results.seeds(regime):
                yield task, regime, seed


def _acts(results: Results, line: Line, variant: str) -> bool:
    """Whether the variant changes a trial of the method, as far as the trials are known."""
    trials = [
        [results.queue.trial(Cell(line.method, *cell, name)) for name in (PLAIN, variant)]
        for cell in _cells(results)
    ]
    return any(a is None or b is None or a.id != b.id for a, b in trials)


def _entries(results: Results, line: Line, variant: str) -> list[Entry]:
    changes: dict[tuple[str, str], list[float]] = {}
    here = []
    for task, regime, seed in _cells(results):
        a = results.row(dataclasses.replace(line, variant=variant), task, regime, seed)
        b = results.row(line, task, regime, seed)
        if b:
            here.append(100 * b["test_metric"])
        if a and b:
            change = 100 * (a["test_metric"] - b["test_metric"])
            changes.setdefault((task, regime), []).append(change)
    effect = stratified_effect(changes)
    if not effect.pairs:
        return [Entry(DASH), Entry(DASH), Entry("0"), Entry(DASH)]
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean),
        Entry(f"{effect.low:+.2f} to {effect.high:+.2f}" if effect.bounded else DASH),
        Entry(str(effect.pairs), mean=effect.pairs),
        Entry(f"{sum(here) / len(here):.2f}", mean=sum(here) / len(here)),
    ]
