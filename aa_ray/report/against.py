"""Compares two sets of rows of one study: which scores and verdicts have changed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aa_ray.data import tasks
from aa_ray.report import claims, provenance_page
from aa_ray.report.judgement import Judgement
from aa_ray.report.paired import stratum
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect, deviation, mean, stratified_effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import commit_text, listed
from aa_ray.report.verdicts import ALPHA, MARGIN, NOT_RUN, holm
from aa_ray.study.grid import CELL_FIELDS

if TYPE_CHECKING:
    from aa_ray.store.rows import Row

SAME = "same runs"


@dataclass(frozen=True)
class Change:
    """The score of a line in a cell, here minus there.

    Attributes:
        effect: the difference of means in points, paired by seed if both have two seeds in
            common, else by Welch's method.
        same: whether both are exactly the same training runs.
    """

    effect: Effect
    same: bool = False


def scores_table(here: Results, there: Results, name: str) -> Table:
    """Difference in score by method and task, with a section for each regime.

    Args:
        here: the results that the page shows.
        there: the results to compare with.
        name: name of the latter, for the caption.
    """
    changes = _changes(here, there)
    decided = _decided(changes)
    sections = []
    for regime in here.study.regimes:
        lines = [
            (line.title, [_entry(changes.get((line, task, regime)), (line, task, regime) in decided)
                          for task in here.study.tasks])
            for line in here.lines()
            if any((line, task, regime) in changes for task in here.study.tasks)
        ]  # fmt: skip
        if lines:
            sections.append(Section(here.regime_title(regime), lines))
    caption = (
        f"Change in score. Test score x 100 here minus that of {name}, with 95 % intervals, paired "
        f"by seed where both have the same seeds, else by Welch's method. Bold: differs from zero "
        f"at 5 % (Holm's method over the {len(changes)} differences)."
    )
    return Table(caption, [tasks.get(task).title for task in here.study.tasks], sections)


Place = tuple[Line, str, str]


def _changes(here: Results, there: Results) -> dict[Place, Change]:
    """(Line, task, regime) -> change, for places where both have rows."""
    theirs = {_key(line): line for line in there.lines()}
    places = [
        (line, theirs[_key(line)], task, regime)
        for line in here.lines()
        if _key(line) in theirs
        for regime in here.study.regimes
        if regime in there.study.regimes
        for task in here.study.tasks
        if task in there.study.tasks
    ]
    changes = {
        (line, task, regime): _change(here, there, (line, other), task, regime)
        for line, other, task, regime in places
    }
    return {place: change for place, change in changes.items() if change is not None}


def _key(line: Line) -> tuple[object, ...]:
    """The identity of a line, without its title, which may contain a number that rows decide."""
    return line.method, line.depth, line.variant


def _change(
    here: Results, there: Results, lines: tuple[Line, Line], task: str, regime: str
) -> Change | None:
    rows = here.rows(lines[0], regime)[task], there.rows(lines[1], regime)[task]
    ours, theirs = here.runs(lines[0], regime)[task], there.runs(lines[1], regime)[task]
    if not ours or not theirs:
        return None
    if _identity(rows[0].values()) == _identity(rows[1].values()):
        return Change(Effect(0.0, len(ours)), same=True)
    paired = stratum((ours, theirs))
    if len(paired.values) > 1:
        return Change(stratified_effect({(task, regime): paired}))
    values = [[run.score for run in runs.values()] for runs in (ours, theirs)]
    return Change(welch(*values))


def _identity(rows: Iterable[Mapping[str, object]]) -> set[tuple[object, ...]]:
    """The identity of training runs, which distinguishes a run from its repetition."""
    return {(row["trial_id"], row["test_metric"], row["finished_at"]) for row in rows}


def welch(first: Sequence[float], second: Sequence[float]) -> Effect:
    """The difference of two means from unpaired values, with Welch's degrees of freedom.

    It has no interval if either has only one value.
    """
    difference = mean(first) - mean(second)
    pairs = min(len(first), len(second))
    if pairs < 2:
        return Effect(difference, pairs)
    parts = [deviation(values) ** 2 / len(values) for values in (first, second)]
    error = math.sqrt(sum(parts))
    below = sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    return Effect(difference, pairs, error, sum(parts) ** 2 / below if below else float("nan"))


def _decided(changes: Mapping[Place, Change]) -> set[Place]:
    """The places whose change differs from zero, after adjustment for their number."""
    p_values = [
        min(1.0, 2 * min(change.effect.above(0.0), change.effect.below(0.0)))
        if change.effect.bounded
        else float("nan")
        for change in changes.values()
    ]
    adjusted = holm(p_values)
    return {place for place, p in zip(changes, adjusted, strict=True) if p <= ALPHA}


def _entry(change: Change | None, decided: bool) -> Entry:
    if change is None:
        return Entry(DASH)
    if change.same:
        return Entry(SAME, mean=0.0)
    effect = change.effect
    limits = f" ({effect.low:+.1f} to {effect.high:+.1f})" if effect.bounded else ""
    return Entry(f"{effect.mean:+.1f}{limits}", decided, effect.mean, seeds=effect.pairs)


def verdicts_table(here: Results, there: Results, name: str, margin: float = MARGIN) -> Table:
    """The paper's statements that both sets of rows measure: verdict and effect of each.

    A statement whose verdict has changed is bold.
    """
    theirs = {(judged.claim, judged.text): judged for judged in claims.judge(there, margin)}
    lines = []
    for judged in claims.judge(here, margin):
        other = theirs.get((judged.claim, judged.text))
        if other is not None and NOT_RUN not in (judged.verdict, other.verdict):
            entries = [*_verdict(judged), *_verdict(other)]
            if judged.verdict != other.verdict:
                entries[0] = entries[0]._replace(best=True)
            lines.append((f"{judged.claim} {judged.text}", entries))
    caption = (
        f"Verdicts here and from {name}, each with its effect and 95 % interval. Bold: the verdict "
        "has changed."
    )
    columns = ["here", "effect here", "there", "effect there"]
    return Table(caption, columns, [Section("Claim", lines)])


def _verdict(judged: Judgement) -> list[Entry]:
    effect = judged.effect
    limits = f" ({effect.low:+.2f} to {effect.high:+.2f})" if effect.bounded else ""
    return [Entry(judged.verdict), Entry(f"{effect.mean:+.2f}{limits}", mean=effect.mean)]


def differences(here: Results, there: Results) -> list[tuple[str, str, str]]:
    """The facts about code, device, packages, data and settings in which the two differ.

    Returns:
        (fact, here, there), with all the values that occur.
    """
    ours, theirs = _facts(here), _facts(there)
    facts = dict.fromkeys([*ours, *theirs])
    return [
        (fact, ours.get(fact, DASH), theirs.get(fact, DASH))
        for fact in facts
        if ours.get(fact) != theirs.get(fact)
    ]


def _facts(results: Results) -> dict[str, str]:
    """Facts that may explain a change: fact -> the values that occur."""
    values: dict[str, dict[str, None]] = {}  # an ordered set for each fact
    for row in provenance_page.distinct(results):
        for fact, value in _facts_of(row):
            values.setdefault(fact, {})[value] = None
    return {fact: listed(sorted(several)) for fact, several in values.items()}


def _facts_of(row: Row) -> Iterator[tuple[str, str]]:
    yield "code", f"commit {commit_text(row)}"
    yield "device", row["device"]
    yield "backbone", f"{row['backbone']}, SHA-256 {row['backbone_sha256'][:12]}"
    yield f"data of {tasks.get(row['task']).title}", row["data_source"]
    yield from json.loads(row["versions"]).items()
    for name, value in json.loads(row["settings"]).items():
        if name not in CELL_FIELDS and isinstance(value, (str, int, float)):
            yield name, str(value)
