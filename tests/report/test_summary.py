"""aa_ray.report.summary: three sentences, grammatical for any number, true to the verdicts."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.report import claims, contrasts, summary
from aa_ray.report.judgement import Judgement
from aa_ray.report.results import Results
from aa_ray.report.statistics import NO_EFFECT, Effect
from aa_ray.report.verdicts import FAILS, HOLDS, OPEN, UNINFORMATIVE
from tests.report.test_claims import as_in_the_paper, at_chance, results
from tests.report.test_contrasts import ACTIVATION, study

STATEMENTS = (("C1", "AA is on par with Baseline"), ("C8", "AA beats Switch-only"),
              ("C9", "Rational-only is on par with Baseline"),
              ("C11", "Learned activations differ between layers"))  # fmt: skip
MEASURED = Effect(1.0, 5, 1.0, 4.0)


def judged(verdict: str, number: int = 0, effect: Effect = MEASURED) -> Judgement:
    claim, text = STATEMENTS[number % len(STATEMENTS)]
    return Judgement(claim, text, effect, "points", "", verdict)


def several(*verdicts: str) -> list[Judgement]:
    return [judged(verdict, n) for n, verdict in enumerate(verdicts)]


def contrast(verdict: str, text: str = ACTIVATION, mean: float = 3.46) -> Judgement:
    return Judgement("", text, Effect(mean, 5, 1.0, 4.0), "points", "", verdict)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            [HOLDS],
            ["Of the paper's one statement, one is shown to hold: AA is on par with Baseline "
             "(C1).", "None is shown not to hold.", "None is left open."],
        ),
        (
            [OPEN, OPEN],
            ["None of the paper's two statements is shown to hold.", "None is shown not to hold.",
             "Both are open for want of data (C1, C8)."],
        ),
        (
            [HOLDS, HOLDS, FAILS, OPEN],
            ["Of the paper's four statements, two are shown to hold: AA is on par with Baseline "
             "(C1) and AA beats Switch-only (C8).",
             "One is shown not to hold: that Rational-only is on par with Baseline (C9).",
             "The other one is open for want of data (C11)."],
        ),
        (
            [FAILS, UNINFORMATIVE, OPEN, HOLDS],
            ["Of the paper's four statements, one is shown to hold: learned activations differ "
             "between layers (C11).",
             "One is shown not to hold: that AA is on par with Baseline (C1).",
             "The other two are open: one for want of data (C9) and one because its scores or "
             "selections are those of chance (C8)."],
        ),
        (
            [FAILS, FAILS, UNINFORMATIVE, UNINFORMATIVE],
            ["None of the paper's four statements is shown to hold.",
             "Two are shown not to hold: that AA is on par with Baseline (C1) and that AA beats "
             "Switch-only (C8).",
             "The other two are open because their scores or selections are those of chance "
             "(C9, C11)."],
        ),
    ],
)  # fmt: skip
def test_sentences(verdicts: list[str], expected: list[str]) -> None:
    assert summary.sentences(several(*verdicts)) == expected


def test_what_has_not_been_measured_says_so() -> None:
    empty = [judged(OPEN, 0, NO_EFFECT), judged(OPEN, 1, NO_EFFECT), judged(OPEN, 2)]
    assert summary.sentences(empty)[2] == (
        "All three are open: one for want of data (C9) and two for lack of rows that measure them "
        "(C1, C8)."
    )
    [single] = summary.sentences([*several(HOLDS), judged(OPEN, 1, NO_EFFECT)])[2:]
    assert single == "The other one is open for lack of rows that measure it (C8)."


def test_many_are_counted_after_the_first_few() -> None:
    [first, *_] = summary.sentences([judged(HOLDS, n) for n in range(20)])
    assert first.startswith("Of the paper's 20 statements, 20 are shown to hold: AA is on par")
    assert first.endswith("differ between layers (C11) and 16 more.")
    [first, *_] = summary.sentences([judged(HOLDS, n) for n in range(5)])
    assert "more" not in first and first.count("(C") == 5


def test_contrasts_say_which_way_and_under_which_rates() -> None:
    under = {
        "released": [contrast(FAILS), contrast(OPEN, "AA minus Switch-only")],
        "tuned": [contrast(HOLDS, mean=0.1), contrast(UNINFORMATIVE)],
        "released minus tuned": [contrast(FAILS, "AA minus Baseline", -2.0)],
    }
    first, second, third = summary.sentences(several(HOLDS), under)
    assert first.endswith(
        "; of this project's five contrasts, two are shown to differ from zero: activation "
        "(rational minus ReLU, released rates, +3.5 points) and AA minus Baseline (released minus "
        "tuned, -2.0 points)."
    )
    assert second.endswith(
        "; one contrast is on par with zero: activation (rational minus ReLU, tuned rates)."
    )
    assert third.endswith(
        "; of the contrasts, one is open for want of data and one is uninformative, at chance."
    )


def test_contrasts_without_rows_are_left_out() -> None:
    empty = contrasts.judge({"released": Results(study().study, [])})
    assert summary.sentences(several(OPEN), empty) == summary.sentences(several(OPEN))


@given(st.lists(st.sampled_from([HOLDS, FAILS, OPEN, UNINFORMATIVE]), min_size=1, max_size=30))
def test_every_number_and_every_grammatical_number_is_right(verdicts: list[str]) -> None:
    first, second, third = summary.sentences(several(*verdicts))
    counts = verdicts.count(HOLDS), verdicts.count(FAILS)
    for sentence, count in ((first, counts[0]), (second, counts[1])):
        if count:
            verb = "is" if count == 1 else "are"
            assert re.search(rf"\b{summary.number(count)} {verb} shown", sentence, re.IGNORECASE)
        else:
            assert sentence.startswith("None ")
    left = len(verdicts) - sum(counts)
    assert ("left open" in third) == (left == 0)
    for sentence in (first, second, third):
        assert (sentence.endswith(".") and sentence[0].isupper()) or sentence[0].isdigit()
        assert "  " not in sentence and ".." not in sentence and ": ;" not in sentence


def test_the_sentences_follow_real_verdicts() -> None:
    right = claims.judge(results(as_in_the_paper, regimes=("100", "300")))
    first, second, _ = summary.sentences(right)
    held = sum(j.verdict == HOLDS for j in right)
    assert f", {summary.number(held)} are shown to hold" in first
    assert "AA takes less" not in second or any(j.verdict == FAILS for j in right)
    nothing = claims.judge(results(as_in_the_paper, change=at_chance("sst2", "cola")))
    assert "those of chance (C1, C2" in summary.sentences(nothing)[2]
    for judgement, sentence in itertools.product(right, (first,)):
        if judgement.verdict != HOLDS:
            assert f"{judgement.text} (" not in sentence
