"""The judged claims as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aa_ray.data import regimes, tasks
from aa_ray.report import verdicts
from aa_ray.report.judgement import Judgement
from aa_ray.report.power import MOST_SEEDS
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed, seeds_text

AT_CHANCE = (
    "A cell (task and regime) counts if one of the two methods has learned something: its mean is "
    "above chance by more than three standard errors of the test set. If rows do not tell what "
    "chance is, all cells count. If all cells are at chance, as the tables show, a verdict on "
    "scores says nothing. A verdict needs two learned cells, or one if the study has only one "
    "cell; otherwise it is uninformative."
)

COLUMNS = ["effect", "95 % interval", "unit", "pairs", "df", "largest cell", "learned", "ahead in",
           "null model", "p holds", "p fails", "verdict", "seeds to settle"]  # fmt: skip


def table(results: Results, judgements: Iterable[Judgement], margin: float) -> Table:
    """The judgements, one line each.

    Args:
        margin: the margin in points with which claims were judged.
    """
    lines = [(f"{judged.claim} {judged.text}", _entries(judged)) for judged in judgements]
    return Table(_caption(results, margin), list(COLUMNS), [Section("Claim", lines)])


def _caption(results: Results, margin: float) -> str:
    study = results.study
    rules = "; ".join(
        f"{name}: {make_rule(margin).text}"
        for name, make_rule in (
            ("beats", verdicts.better), ("considerably", verdicts.considerably_better),
            ("on par", verdicts.on_par), ("does not beat", verdicts.not_better),
        )
    )  # fmt: skip
    return (
        f"Claims, for backbone {study.backbone.identity}, tasks {listed(study.tasks)}, regimes "
        f"{listed(study.regimes)}, seeds {seeds_text(study.seeds)}. Effects in points of score "
        f"(x 100) unless another unit is given, with 95 % intervals, paired over task, regime and "
        f"seed. {AT_CHANCE}\n"
        f"Rules: {rules}. On every task: each task is tested separately. p holds, p fails: p "
        "values of the two verdicts, adjusted by Holm's method for the number of claims tested; a "
        "verdict needs p of at most 5 %.\n"
        'df: degrees of freedom of the interval. "cells": no cell has a second seed, so the cells '
        'are the sample. "take-off": some runs of a cell took off (ended above chance) and others '
        "did not, so the shares of runs that took off have separate intervals (with few seeds n, "
        "such a cell may be missed). Largest cell: the one with the largest share of the variance. "
        "Ahead in: minimum number of cells in which the first method is ahead (5 %). Null model: "
        "mean and standard deviation for random or relabelled layers. Seeds to settle: seeds per "
        "cell for a verdict with probability 80 %, if means and spreads stay the same."
    )


def _entries(judged: Judgement) -> list[Entry]:
    effect = judged.effect
    known = not math.isnan(effect.mean)
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean) if known else Entry(DASH),
        Entry(interval(effect)),
        Entry(judged.unit),
        Entry(str(effect.pairs), mean=effect.pairs) if effect.pairs or not known else Entry(DASH),
        Entry(freedom(effect)),
        Entry(largest(effect)),
        Entry(counts(judged.learned)),
        Entry(counts(judged.ahead)),
        Entry(judged.null or DASH),
        p_value(judged.holds),
        p_value(judged.fails),
        Entry(judged.verdict),
        Entry(seeds(judged.seeds_needed)),
    ]


def interval(effect: Effect, level: float = 0.95) -> str:
    """Its interval, a 95 % one unless another level is asked for."""
    if not effect.bounded:
        return DASH
    low, high = effect.limits(level)
    return f"{low:+.2f} to {high:+.2f}"


def freedom(effect: Effect) -> str:
    """Its degrees of freedom, and how else its interval was obtained."""
    notes = ["cells"] * effect.over_strata
    if effect.shares:
        notes.append(f"take-off, n={min(share.of for share in effect.shares)}")
    number = [] if math.isnan(effect.freedom) or not effect.bounded else [f"{effect.freedom:.1f}"]
    return listed([*number, *notes], none=DASH)


def largest(effect: Effect) -> str:
    """The cell with the largest share of the variance."""
    if effect.largest is None:
        return DASH
    (task, regime), share = effect.largest
    return f"{cell_title(task, regime)} {100 * share:.0f} %"


def cell_title(task: str, regime: str) -> str:
    """Title of a cell: task and regime."""
    size = regime if regimes.get(regime).low_data else "full"
    return f"{tasks.get(task).title} {size}"


def counts(pair: tuple[int, int] | None) -> str:
    """Two counts as text: 3 of 8."""
    return DASH if pair is None else f"{pair[0]} of {pair[1]}"


def p_value(p: float) -> Entry:
    """A p value, or a dash if nothing was tested."""
    if math.isnan(p):
        return Entry(DASH)
    return Entry("<0.001" if p < 0.001 else f"{p:.3f}", mean=p)


def seeds(needed: int | None) -> str:
    """The number of seeds that would settle an open claim."""
    if needed is None:
        return DASH
    return f">{MOST_SEEDS}" if needed > MOST_SEEDS else f"{needed}"
