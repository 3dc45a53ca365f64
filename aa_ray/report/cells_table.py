"""The claims' comparisons cell by cell, and how their averages depend on single cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aa_ray.report import verdicts
from aa_ray.report.claims_table import cell_title, freedom, interval
from aa_ray.report.comparisons import COMPARISONS, Comparison, Evidence, Key, compared, evidence
from aa_ray.report.paired import Run
from aa_ray.report.resampling import (
    Proportion,
    hierarchical,
    improvement,
    proportion,
    without_each,
)
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect, Stratum, deviation, stratified_effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed, seeds_text

COLUMNS = ["effect", "95 % interval", "90 % interval", "df", "variance", "P(A > B)", "A learned",
           "B learned", "A takes off", "B takes off"]  # fmt: skip


def table(results: Results, margin: float = verdicts.MARGIN) -> Table:
    """Each comparison with its average, alternative averages, and a line for each cell.

    Args:
        margin: points within which two methods are on par.
    """
    sections = []
    for comparison in COMPARISONS:
        shown = evidence(
            results, comparison.method, comparison.other, compared(results, comparison.regimes)
        )
        if shown.strata:
            heading = f"{comparison.claim} {comparison.text} (rule: {comparison.rule(margin).text})"
            lines = [*_averages(shown), *_cells(results, comparison, shown)]
            sections.append(Section(heading, lines))
    return Table(_caption(results, margin), list(COLUMNS), sections)


def _caption(results: Results, margin: float) -> str:
    study = results.study
    return (
        f"Comparisons cell by cell, for backbone {study.backbone.identity}, tasks "
        f"{listed(study.tasks)}, regimes {listed(study.regimes)}, seeds {seeds_text(study.seeds)}. "
        "Effects: first method (A) minus second (B), points of score (x 100), paired by seed. "
        "Intervals and p values of single cells are not adjusted for their number. The margin of "
        f"the rules is {margin:g} points. Variance: the cell's share of the variance of the "
        "average. P(A > B): share of pairs in which A is better. Takes off: share of training runs "
        "above chance by more than three standard errors of the test set. In brackets: 95 % "
        "intervals (Wilson). The average is over the cells in which A or B has learned something, "
        "or this is not known. Tasks drawn at random: a bootstrap over tasks and seeds, for "
        "comparison."
    )


def _averages(shown: Evidence) -> list[tuple[str, list[Entry]]]:
    """The averages over cells; none of a single cell, whose line says the same."""
    if len(shown.strata) == 1 == len(shown.counted):
        return []
    ahead, count = shown.ahead
    title = f"average of {count} cells (ahead in at least {ahead})"
    lines = [(title, _entries(shown.effect, improvement(shown.counted)))]
    if len(shown.strata) > len(shown.counted):
        everywhere = stratified_effect(shown.strata)
        lines.append(("average of all cells", _entries(everywhere, improvement(shown.strata))))
    for task, effect in without_each(shown.counted).items():
        lines.append((f"average without {task}", _entries(effect)))
    ends = hierarchical(shown.counted)
    if ends is not None:
        entries = _entries(Effect(shown.effect.mean))
        entries[1] = Entry(f"{ends[0]:+.2f} to {ends[1]:+.2f}")
        lines.append(("tasks drawn at random", entries))
    return lines


def _cells(
    results: Results, comparison: Comparison, shown: Evidence
) -> Iterable[tuple[str, list[Entry]]]:
    shares = _variances(shown.counted)
    for (task, regime), stratum in shown.strata.items():
        key = (task, regime)
        effect = stratified_effect({key: stratum})
        entries = _entries(effect, improvement({key: stratum}), shares.get(key))
        entries[6:8] = [Entry(state.value) for state in shown.states[key]]
        entries[8:] = [
            Entry(_taking_off(list(results.runs(line, regime)[task].values())))
            for line in (comparison.method, comparison.other)
        ]
        yield cell_title(task, regime), entries


def _variances(strata: Mapping[Key, Stratum]) -> dict[Key, float]:
    """Each cell's share of the variance of the average."""
    variances = {
        key: deviation(stratum.values) ** 2 / len(stratum.values)
        for key, stratum in strata.items()
        if len(stratum.values) > 1
    }
    total = sum(variances.values())
    return {key: variance / total for key, variance in variances.items()} if total else {}


def _entries(
    effect: Effect, better: Proportion | None = None, variance: float | None = None
) -> list[Entry]:
    low, high = effect.limits(0.9)
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean),
        Entry(interval(effect)),
        Entry(f"{low:+.2f} to {high:+.2f}" if effect.bounded else DASH),
        Entry(freedom(effect)),
        Entry(DASH if variance is None else f"{100 * variance:.0f} %", mean=variance),
        Entry(_proportion(better), mean=None if better is None else better.value),
        *[Entry(DASH)] * 4,
    ]


def _proportion(shown: Proportion | None) -> str:
    if shown is None:
        return DASH
    return f"{shown.value:.2f} ({shown.low:.2f} to {shown.high:.2f})"


def take_off(runs: Sequence[Run]) -> Proportion | None:
    """The share of training runs above chance ("took off"), with Wilson's interval.

    None if rows do not tell what chance is.
    """
    known = [run.took_off for run in runs if run.took_off is not None]
    return proportion(sum(known), len(known)) if known else None


def _taking_off(runs: Sequence[Run]) -> str:
    return _proportion(take_off(runs))
