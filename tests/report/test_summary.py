"""aa_ray.report.summary: three sentences, grammatical for any number and true to the verdicts."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.report import claims, contrasts, summary
from aa_ray.report.judgement import Judgement
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect
from aa_ray.report.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, UNINFORMATIVE
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
            ["One of the paper's one statement holds: AA is on par with Baseline (C1).",
             "None is shown not to hold.", "None is left open."],
        ),
        (
            [OPEN, OPEN],
            ["None of the paper's two statements holds.", "None is shown not to hold.",
             "Two are open for lack of data (C1, C8)."],
        ),
        (
            [HOLDS, HOLDS, FAILS, OPEN],
            ["Two of the paper's four statements hold: AA is on par with Baseline (C1) and AA "
             "beats Switch-only (C8).",
             "One does not hold: that Rational-only is on par with Baseline (C9).",
             "One is open for lack of data (C11)."],
        ),
        (
            [FAILS, UNINFORMATIVE, OPEN, HOLDS],
            ["One of the paper's four statements holds: learned activations differ between layers "
             "(C11).",
             "One does not hold: that AA is on par with Baseline (C1).",
             "One is open for lack of data (C9) and one is at chance, which says nothing (C8)."],
        ),
        (
            [FAILS, FAILS, NOT_RUN, NOT_RUN],
            ["None of the paper's four statements holds.",
             "Two do not hold: that AA is on par with Baseline (C1) and that AA beats "
             "Switch-only (C8).",
             "Two were not run (C9, C11)."],
        ),
    ],
)  # fmt: skip
def test_sentences(verdicts: list[str], expected: list[str]) -> None:
    assert summary.sentences(several(*verdicts)) == expected


def test_they_name_the_rates() -> None:
    [first, *_] = summary.sentences(several(HOLDS, OPEN), rates="tuned rates")
    assert first.startswith("One of the paper's two statements holds at tuned rates: AA is")


def test_many_are_counted_after_the_first_few() -> None:
    [first, *_] = summary.sentences([judged(HOLDS, n) for n in range(20)])
    assert first.startswith("20 of the paper's 20 statements hold: AA is on par")
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
        " Two of this project's five contrasts differ from zero: AA minus Baseline (released minus "
        "tuned, -2.0 points) and activation (rational minus ReLU, released rates, +3.5 points)."
    )
    assert second.endswith(
        " One contrast is on par with zero: activation (rational minus ReLU, tuned rates)."
    )
    assert third.endswith(" Of the contrasts, one is open for lack of data and one is at chance.")


def test_contrasts_without_rows_are_left_out() -> None:
    empty = contrasts.judge({"released": Results(study().study, [])})
    assert summary.sentences(several(OPEN), empty) == summary.sentences(several(OPEN))


@given(
    st.lists(st.sampled_from([HOLDS, FAILS, OPEN, UNINFORMATIVE, NOT_RUN]), min_size=1, max_size=30)
)
def test_every_number_and_every_grammatical_number_is_right(verdicts: list[str]) -> None:
    first, second, third = summary.sentences(several(*verdicts))
    counts = verdicts.count(HOLDS), verdicts.count(FAILS)
    verbs = ("holds|hold", "does not hold|do not hold")
    for sentence, count, verb in zip((first, second), counts, verbs, strict=True):
        if count:
            phrase = verb.split("|")[count > 1]
            assert re.match(rf"{summary.number(count)}\b.* {phrase}:", sentence, re.IGNORECASE)
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
    assert first.lower().startswith(f"{summary.number(held)} of the paper's ")
    assert "AA takes less" not in second or any(j.verdict == FAILS for j in right)
    nothing = claims.judge(results(as_in_the_paper, change=at_chance("sst2", "cola")))
    assert "at chance, which says nothing (C1, C2" in summary.sentences(nothing)[2]
    for judgement, sentence in itertools.product(right, (first,)):
        if judgement.verdict != HOLDS:
            assert f"{judgement.text} (" not in sentence
