"""Summarises the verdicts in three paragraphs: what holds, what does not, and what is open.

They repeat the tables of claims and contrasts and add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aa_ray.core.architectures import METHODS
from aa_ray.report.judgement import Judgement
from aa_ray.report.verdicts import FAILS, HOLDS, NOT_RUN, OPEN, UNINFORMATIVE

# Number of statements that a sentence names before it counts the rest.
MOST_NAMED = 4

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
            "eleven", "twelve")  # fmt: skip

# Words that keep their capital inside a sentence.
_NAMES = {method.title.partition("^")[0] for method in METHODS.values()}

Contrasts = Mapping[str, Sequence[Judgement]]


def sentences(
    claims: Sequence[Judgement], contrasts: Contrasts | None = None, rates: str = ""
) -> list[str]:
    """Three paragraphs: what holds, what does not hold, and what is open.

    Args:
        claims: the judged statements of the paper.
        contrasts: heading -> this project's judged contrasts, from ``contrasts.judge``. Contrasts
            without rows are left out.
        rates: the learning rates under which the statements were judged, such as "tuned rates";
            empty to say nothing about them.
    """
    measured = [
        (heading, judged)
        for heading, of_policy in (contrasts or {}).items()
        for judged in of_policy
        if judged.verdict != NOT_RUN
    ]
    # The contrast between policies and the largest differences come first.
    measured.sort(key=lambda pair: (" minus " not in pair[0], -abs(pair[1].effect.mean)))
    parts = [(_holding(claims, rates), _differing(measured)), (_failing(claims), _alike(measured)),
             (_open(claims), _undecided(measured))]  # fmt: skip
    return [" ".join(f"{_capital(text)}." for text in part if text) for part in parts]


def _holding(claims: Sequence[Judgement], rates: str) -> str:
    held = [judged for judged in claims if judged.verdict == HOLDS]
    where = f" at {rates}" if rates else ""
    noun = "statement" if len(claims) == 1 else "statements"
    whole = f"of the paper's {number(len(claims))} {noun}"
    if not held:
        return f"none {whole} holds{where}"
    return (
        f"{number(len(held))} {whole} {_plural(held, 'holds', 'hold')}{where}: {_statements(held)}"
    )


def _failing(claims: Sequence[Judgement]) -> str:
    failed = [judged for judged in claims if judged.verdict == FAILS]
    if not failed:
        return "none is shown not to hold"
    verb = _plural(failed, "does", "do")
    return f"{number(len(failed))} {verb} not hold: {_statements(failed, 'that ')}"


def _open(claims: Sequence[Judgement]) -> str:
    """The remaining statements by reason, with the numbers of their claims."""
    reasons = {OPEN: ("is", "are", "open for lack of data"),
               UNINFORMATIVE: ("is", "are", "at chance, which says nothing"),
               NOT_RUN: ("was", "were", "not run")}  # fmt: skip
    groups = [([j for j in claims if j.verdict == verdict], reason)
              for verdict, reason in reasons.items()]  # fmt: skip
    listed = [
        f"{number(len(group))} {_plural(group, one, several)} {reason} ({_numbers(group)})"
        for group, (one, several, reason) in groups
        if group
    ]
    return _joined(listed) if listed else "none is left open"


Measured = Sequence[tuple[str, Judgement]]


def _differing(contrasts: Measured) -> str:
    """The contrasts that differ from zero, with their effects."""
    differing = [
        _contrast(judged, heading, f", {judged.effect.mean:+.1f} points")
        for heading, judged in contrasts
        if judged.verdict == FAILS  # of "the two are on par"
    ]
    if not contrasts:
        return ""
    whole = f"of this project's {number(len(contrasts))} contrasts"
    if not differing:
        return f"none {whole} is shown to differ from zero"
    verb = _plural(differing, "differs", "differ")
    return f"{number(len(differing))} {whole} {verb} from zero: {_joined(_capped(differing))}"


def _alike(contrasts: Measured) -> str:
    alike = [_contrast(j, heading) for heading, j in contrasts if j.verdict == HOLDS]
    if not contrasts:
        return ""
    if not alike:
        return "no contrast is shown to be on par with zero"
    noun = _plural(alike, "contrast is", "contrasts are")
    return f"{number(len(alike))} {noun} on par with zero: {_joined(_capped(alike))}"


def _undecided(contrasts: Measured) -> str:
    verdicts = [judged.verdict for _, judged in contrasts]
    groups = [(verdicts.count(OPEN), "open for lack of data"),
              (verdicts.count(UNINFORMATIVE), "at chance")]  # fmt: skip
    listed = [f"{number(count)} {'is' if count == 1 else 'are'} {word}"
              for count, word in groups if count]  # fmt: skip
    if not contrasts:
        return ""
    return f"of the contrasts, {_joined(listed)}" if listed else "no contrast is left open"


def _contrast(judged: Judgement, heading: str, more: str = "") -> str:
    name, _, about = judged.text.partition(": ")
    rates = heading if " minus " in heading else f"{heading} rates"
    return f"{name} ({', '.join(filter(None, (about, rates)))}{more})"


def _statements(judgements: Sequence[Judgement], before: str = "") -> str:
    return _joined(_capped([f"{before}{_clause(j.text)} ({j.claim})" for j in judgements]))


def _clause(text: str) -> str:
    """A statement for use inside a sentence."""
    first = text.partition(" ")[0]
    plain = len(first) > 1 and first.istitle() and first.partition("^")[0] not in _NAMES
    return text[0].lower() + text[1:] if plain else text


def _capped(items: Sequence[str]) -> list[str]:
    """The first ``MOST_NAMED`` items and the number of others; all if only one would be left."""
    if len(items) <= MOST_NAMED + 1:
        return list(items)
    return [*items[:MOST_NAMED], f"{number(len(items) - MOST_NAMED)} more"]


def _joined(items: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def _numbers(judgements: Sequence[Judgement]) -> str:
    """The numbers of the claims, without duplicates."""
    return ", ".join(dict.fromkeys(judged.claim for judged in judgements))


def _plural(group: Sequence[object], one: str, several: str) -> str:
    return one if len(group) == 1 else several


def number(count: int) -> str:
    """The number, in words up to twelve."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
