"""Does an advantage depend on the policy, say on whether rates are released or tuned?

An advantage that is there under one policy and "not significant" under the other need not differ
between them. Here the difference of the differences is tested itself: (A - B) under the first
policy minus (A - B) under the second, paired by seed in each cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aa_ray.report import verdicts
from aa_ray.report.claims_table import freedom, interval
from aa_ray.report.comparisons import COMPARISONS, Comparison, Key, compared
from aa_ray.report.paired import stratum
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect, Stratum, stratified_effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed
from aa_ray.report.verdicts import MARGIN, Region

Lines = tuple[Line, Line]

DEPENDS, INDEPENDENT = "depends on it", "does not depend on it"

COLUMNS = ["{}", "{}", "difference", "95 % interval", "df", "cells", "p (Holm)", "verdict"]


def differences(
    one: Results, other: Results, lines: Lines, regimes: Iterable[str], others: Lines | None = None
) -> dict[Key, Stratum]:
    """(Task, regime) -> the first policy's difference minus the second's, by seed.

    Cells count where one of the four lines has learned something, or nobody knows.

    Args:
        one, other: a study under two policies, or one study twice for two of its variants.
        lines: the two lines that are compared.
        others: the same in ``other``, where it is not ``lines``.
    """
    others = others or lines
    strata = {}
    for regime in regimes:
        first = [one.runs(line, regime) for line in lines]
        second = [other.runs(line, regime) for line in others]
        for task in one.study.tasks:
            if task not in other.study.tasks:
                continue
            states = [one.state(line, task, regime) for line in lines]
            states += [other.state(line, task, regime) for line in others]
            cell = stratum((first[0][task], first[1][task]), (second[0][task], second[1][task]))
            if cell.values and any(state.informative for state in states):
                strata[task, regime] = cell
    return strata


def table(one: Results, other: Results, policies: tuple[str, str], margin: float = MARGIN) -> Table:
    """The claims' comparisons under two policies, and whether they depend on the policy.

    Args:
        policies: how the two are called.
        margin: points within which a difference between the two counts as none.
    """
    shared = [regime for regime in one.study.regimes if regime in other.study.regimes]
    tested = {
        comparison: differences(one, other, (comparison.method, comparison.other), regimes)
        for comparison in COMPARISONS
        if (regimes := [r for r in compared(one, comparison.regimes) if r in shared])
    }
    tested = {comparison: strata for comparison, strata in tested.items() if strata}
    effects = [stratified_effect(strata) for strata in tested.values()]
    apart = verdicts.holm([_differs(effect) for effect in effects])
    alike = verdicts.holm([float(Region(-margin, margin).p_value(e)) for e in effects])
    lines = [
        (_title(comparison), _entries(one, other, comparison, strata, p, q))
        for (comparison, strata), p, q in zip(tested.items(), apart, alike, strict=True)
    ]
    columns = [*policies, *COLUMNS[2:]]
    return Table(_caption(one, policies, margin), columns, [Section("A - B", lines)])


def _differs(effect: Effect) -> float:
    """Two-sided p value of no difference."""
    sides = [Region(low=0.0, two_sided=True), Region(high=0.0, two_sided=True)]
    return float(min(side.p_value(effect) for side in sides))


def _title(comparison: Comparison) -> str:
    return f"{comparison.claim} {comparison.text}"


def _entries(
    one: Results,
    other: Results,
    comparison: Comparison,
    strata: dict[Key, Stratum],
    apart: float,
    alike: float,
) -> list[Entry]:
    effect = stratified_effect(strata)
    means = [_mean(results, comparison, list(strata)) for results in (one, other)]
    verdict = DEPENDS if apart <= verdicts.ALPHA else verdicts.OPEN
    if verdict == verdicts.OPEN and alike <= verdicts.ALPHA:
        verdict = INDEPENDENT
    return [
        *[Entry(f"{mean:+.2f}", mean=mean) for mean in means],
        Entry(f"{effect.mean:+.2f}", mean=effect.mean),
        Entry(interval(effect)),
        Entry(freedom(effect)),
        Entry(str(len(strata))),
        Entry(f"{apart:.3f}" if effect.bounded else DASH, mean=apart if effect.bounded else None),
        Entry(verdict),
    ]


def _mean(results: Results, comparison: Comparison, keys: Sequence[Key]) -> float:
    """The mean difference under one policy, over the cells that are compared."""
    regimes = list(dict.fromkeys(regime for _, regime in keys))
    strata = results.differences(comparison.method, comparison.other, regimes)
    return stratified_effect({key: strata[key] for key in keys}).mean


def _caption(results: Results, policies: tuple[str, str], margin: float) -> str:
    study = results.study
    return (
        f"Does a difference between two methods depend on the policy ({policies[0]}, "
        f"{policies[1]})? Backbone {study.backbone.identity}, tasks {listed(study.tasks)}, regimes "
        f"{listed(study.regimes)}. Points of score (x 100), averaged over the cells in which one "
        "of the two methods has learned something under one of the policies, with 95 % intervals, "
        f"paired by seed. It depends on it: interval without 0 (p adjusted by Holm's method); it "
        f"does not: 90 % interval within ±{margin:g} points."
    )
