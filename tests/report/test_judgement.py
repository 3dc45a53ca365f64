"""aa_ray.report.judgement: the verdicts of several claims depend on each other."""

import math

import pytest

from aa_ray.report.judgement import Draft, Judgement, settle
from aa_ray.report.statistics import NO_EFFECT
from aa_ray.report.verdicts import FAILS, HOLDS, OPEN, UNINFORMATIVE


def draft(holds: float, fails: float, verdict: str = OPEN) -> Draft:
    judgement = Judgement("C1", "", NO_EFFECT, "points", "", verdict, holds=holds, fails=fails)
    return Draft(judgement, lambda tests: tests)


def test_what_would_do_alone_does_not_among_many() -> None:
    assert [j.verdict for j in settle([draft(0.03, 0.9)])] == [HOLDS]
    assert {j.verdict for j in settle([draft(0.03, 0.9)] * 5)} == {OPEN}
    first, *others = settle([draft(0.001, 0.9), *[draft(0.03, 0.9)] * 5])
    assert first.verdict == HOLDS and first.holds == pytest.approx(0.006)
    assert {j.verdict for j in others} == {OPEN}


def test_both_verdicts_have_their_own_number() -> None:
    judged = settle([draft(0.01, 0.9), draft(0.9, 0.01)])
    assert [j.verdict for j in judged] == [HOLDS, FAILS]
    assert judged[0].holds == judged[1].fails == pytest.approx(0.02)


def test_what_is_not_tested_neither_counts_nor_changes() -> None:
    untested = draft(math.nan, math.nan, UNINFORMATIVE)
    known = draft(math.nan, math.nan, HOLDS)
    judged = settle([draft(0.04, 0.9), untested, known])
    assert [j.verdict for j in judged] == [HOLDS, UNINFORMATIVE, HOLDS]
    assert [j.seeds_needed for j in judged] == [None, None, None]


def test_open_claims_say_what_they_need_beside_the_other_open_ones() -> None:
    judged = settle([draft(0.001, 0.9), draft(0.5, 0.5), draft(0.5, 0.5)])
    assert [j.seeds_needed for j in judged] == [None, 2, 2]


def test_a_verdict_without_a_test() -> None:
    judged = draft(0.01, 0.9).judgement.untested(UNINFORMATIVE)
    assert judged.verdict == UNINFORMATIVE and math.isnan(judged.holds)
