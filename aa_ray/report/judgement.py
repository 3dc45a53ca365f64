"""A judged claim, and how the verdicts of several claims depend on each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aa_ray.report import power, verdicts
from aa_ray.report.comparisons import Evidence
from aa_ray.report.statistics import Effect, stratified_effect
from aa_ray.report.verdicts import ALPHA, NOT_RUN, OPEN, UNINFORMATIVE, Rule

NAN = float("nan")


@dataclass(frozen=True)
class Judgement:
    """A claim, or a part of one, with its effect and verdict.

    Attributes:
        claim, text: its number, and the statement in words.
        effect, unit: the measured effect and its unit.
        rule: the rule in words.
        verdict: ``HOLDS``, ``FAILS``, ``OPEN``, ``UNINFORMATIVE`` or ``NOT_RUN``.
        seeds_needed: per cell, to settle an open claim; see ``power.seeds_to_settle``.
        holds, fails: p values of the two verdicts, adjusted for the number of claims; NaN if
            nothing was tested.
        learned: informative cells, of all cells with rows; None if rows do not tell.
        ahead: minimum number of cells in which the first method is ahead, of those that count.
        null: the value under a null model instead of the effect, in words.
        band: for effects in other units than points: the region where the claim is right, or the
            range under a null model (two standard deviations on either side).
    """

    claim: str
    text: str
    effect: Effect
    unit: str
    rule: str
    verdict: str
    seeds_needed: int | None = None
    holds: float = NAN
    fails: float = NAN
    learned: tuple[int, int] | None = None
    ahead: tuple[int, int] | None = None
    null: str = ""
    band: tuple[float, float] | None = None

    def untested(self, verdict: str) -> Judgement:
        """The judgement with a verdict that is not based on a test."""
        return dataclasses.replace(self, verdict=verdict, holds=NAN, fails=NAN)


@dataclass(frozen=True)
class Draft:
    """A judgement with unadjusted p values, and the seeds that it needs if it stays open.

    Attributes:
        seeds_needed: (number of open claims) -> seeds per cell that would settle this one.
    """

    judgement: Judgement
    seeds_needed: Callable[[int], int | None] = lambda tests: None


def draft(claim: str, text: str, shown: Evidence, rule: Rule, each_task: bool = False) -> Draft:
    """The draft judgement of a claim on scores.

    Args:
        each_task: whether the claim is about each task rather than their average.
    """
    judgement = Judgement(claim, text, shown.effect, "points", rule.text, OPEN)
    if not shown.strata:
        return Draft(judgement.untested(NOT_RUN))
    if shown.known:
        learned = len(shown.informative), shown.compared
        judgement = dataclasses.replace(judgement, learned=learned)
    if not shown.enough:
        return Draft(judgement.untested(UNINFORMATIVE))
    groups = shown.groups(each_task)
    holds, fails = rule.test([stratified_effect(group) for group in groups])
    tested = dataclasses.replace(
        judgement, holds=float(holds), fails=float(fails), ahead=shown.ahead
    )
    cells = [list(group.values()) for group in groups]
    return Draft(tested, lambda tests: power.seeds_to_settle(cells, rule, tests))


def settle(drafts: Sequence[Draft], alpha: float = ALPHA) -> list[Judgement]:
    """Decide the open drafts, with p values adjusted for their number."""
    judgements = [draft.judgement for draft in drafts]
    adjusted = zip(
        judgements,
        verdicts.holm([judgement.holds for judgement in judgements]),
        verdicts.holm([judgement.fails for judgement in judgements]),
        strict=True,
    )
    judged = [_decided(judgement, holds, fails, alpha) for judgement, holds, fails in adjusted]
    tests = sum(j.verdict == OPEN and not math.isnan(j.holds) for j in judged)
    return [
        dataclasses.replace(judgement, seeds_needed=draft.seeds_needed(tests))
        if judgement.verdict == OPEN
        else judgement
        for judgement, draft in zip(judged, drafts, strict=True)
    ]


def _decided(judgement: Judgement, holds: float, fails: float, alpha: float) -> Judgement:
    verdict = judgement.verdict
    if verdict == OPEN:
        verdict = verdicts.verdict(holds, fails, alpha)
    return dataclasses.replace(judgement, holds=holds, fails=fails, verdict=verdict)
