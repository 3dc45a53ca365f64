"""Tests whether an advantage depends on the policy, such as released or tuned rates.

An advantage that is significant under one policy and "not significant" under the other need not
differ between them. So this module tests the difference of differences: (A - B) under the first
policy minus (A - B) under the second, paired by seed in each cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aa_ray.errors import UsageError
from aa_ray.report import verdicts
from aa_ray.report.claims_table import freedom, interval, p_value
from aa_ray.report.comparisons import (
    COMPARISONS,
    Comparison,
    Evidence,
    Key,
    Part,
    compared,
    contrast,
)
from aa_ray.report.results import Results
from aa_ray.report.statistics import NO_EFFECT, stratified_effect
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.report.text import listed
from aa_ray.report.verdicts import MARGIN, Region

DEPENDS, INDEPENDENT = "depends on it", "does not depend on it"


def table(policies: Mapping[str, Results], margin: float = MARGIN) -> Table:
    """The claims' comparisons under two policies, and whether they depend on the policy.

    Args:
        policies: name -> the study's results under it.
        margin: points within which a difference between the two counts as none.

    Raises:
        UsageError: there are not two policies.
    """
    if len(policies) != 2:
        raise UsageError("--rates: this study compares other rates with the released ones")
    one, other = policies.values()
    tested = {comparison: _between(one, other, comparison) for comparison in COMPARISONS}
    tested = {comparison: shown for comparison, shown in tested.items() if shown.strata}
    effects = [shown.effect if shown.enough else NO_EFFECT for shown in tested.values()]
    apart = verdicts.holm([verdicts.differs(effect) for effect in effects])
    alike = verdicts.holm([float(Region(-margin, margin).p_value(e)) for e in effects])
    lines = [
        (f"{comparison.claim} {comparison.text}", _entries(one, other, comparison, shown, p, q))
        for (comparison, shown), p, q in zip(tested.items(), apart, alike, strict=True)
    ]
    columns = [*policies, "difference", "95 % interval", "df", "cells", "p (Holm)", "verdict"]
    return Table(_caption(one, list(policies), margin), columns, [Section("A - B", lines)])


def _between(one: Results, other: Results, comparison: Comparison) -> Evidence:
    """(A - B) under the first policy minus (A - B) under the second, by seed in each cell."""
    pair = comparison.method, comparison.other
    shared = [r for r in compared(one, comparison.regimes) if r in other.study.regimes]
    return contrast([Part(one, pair), Part(other, pair, -1.0)], shared)


def _entries(
    one: Results,
    other: Results,
    comparison: Comparison,
    shown: Evidence,
    apart: float,
    alike: float,
) -> list[Entry]:
    effect, keys = shown.effect, list(shown.counted)
    means = [_mean(results, comparison, keys) for results in (one, other)]
    return [
        *[Entry(f"{mean:+.2f}", mean=mean) for mean in means],
        Entry(f"{effect.mean:+.2f}", mean=effect.mean),
        Entry(interval(effect)),
        Entry(freedom(effect)),
        Entry(f"{len(shown.informative)} of {shown.compared}"),
        p_value(apart),
        Entry(_verdict(shown, apart, alike)),
    ]


def _verdict(shown: Evidence, apart: float, alike: float) -> str:
    if not shown.enough:
        return verdicts.UNINFORMATIVE
    if apart <= verdicts.ALPHA:
        return DEPENDS
    return INDEPENDENT if alike <= verdicts.ALPHA else verdicts.OPEN


def _mean(results: Results, comparison: Comparison, keys: Sequence[Key]) -> float:
    """The mean difference under one policy over the compared cells."""
    regimes = list(dict.fromkeys(regime for _, regime in keys))
    strata = results.differences(comparison.method, comparison.other, regimes)
    return stratified_effect({key: strata[key] for key in keys}).mean


def _caption(results: Results, policies: Sequence[str], margin: float) -> str:
    study = results.study
    return (
        f"Does a difference between two methods depend on the policy ({policies[0]}, "
        f"{policies[1]})? Backbone {study.backbone.identity}, tasks {listed(study.tasks)}, regimes "
        f"{listed(study.regimes)}. Points of score (x 100), averaged over the cells in which one "
        "of the two methods has learned something under one of the policies, with 95 % intervals, "
        "paired by seed. Verdict: it depends if the interval excludes 0 (p adjusted by Holm's "
        f"method); it does not if the 90 % interval is within ±{margin:g} points."
    )
