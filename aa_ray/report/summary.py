"""Three sentences made from the verdicts: what holds, what does not, and what is open.

They say what the tables of claims and contrasts say, and nothing beyond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from aa_ray.core.architectures import METHODS
from aa_ray.report.judgement import Judgement
from aa_ray.report.verdicts import FAILS, HOLDS, UNINFORMATIVE

# Statements that a sentence names before it counts the rest.
MOST_NAMED = 4

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
            "eleven", "twelve")  # fmt: skip

# Words that keep their capital inside a sentence.
_NAMES = {method.title.partition("^")[0] for method in METHODS.values()}

Contrasts = Mapping[str, Sequence[Judgement]]


def sentences(claims: Sequence[Judgement], contrasts: Contrasts | None = None) -> list[str]:
    """What holds, what does not hold, and what is open, one sentence each.

    Args:
        claims: the judged statements of the paper.
        contrasts: heading -> this project's judged contrasts, of ``contrasts.judge``; those
            without rows are left out, as are all of them where none has any.
    """
    with_rows = {
        heading: [judged for judged in of_policy if _measured(judged)]
        for heading, of_policy in (contrasts or {}).items()
    }
    parts = [(_holding(claims), _differing(with_rows)), (_failing(claims), _alike(with_rows)),
             (_open(claims), _undecided(with_rows))]  # fmt: skip
    return [f"{_capital('; '.join(filter(None, part)))}." for part in parts]


def _measured(judged: Judgement) -> bool:
    return not math.isnan(judged.effect.mean)


def _holding(claims: Sequence[Judgement]) -> str:
    held = [judged for judged in claims if judged.verdict == HOLDS]
    noun = "statement" if len(claims) == 1 else "statements"
    if not held:
        return f"none of the paper's {number(len(claims))} {noun} is shown to hold"
    return (
        f"of the paper's {number(len(claims))} {noun}, {number(len(held))} "
        f"{_are(held)} shown to hold: {_statements(held)}"
    )


def _failing(claims: Sequence[Judgement]) -> str:
    failed = [judged for judged in claims if judged.verdict == FAILS]
    if not failed:
        return "none is shown not to hold"
    return f"{number(len(failed))} {_are(failed)} shown not to hold: {_statements(failed, 'that ')}"


def _open(claims: Sequence[Judgement]) -> str:
    """The rest, by reason, with the numbers of the claims."""
    left = [judged for judged in claims if judged.verdict not in (HOLDS, FAILS)]
    if not left:
        return "none is left open"
    chance = [j for j in left if j.verdict == UNINFORMATIVE]
    empty = [j for j in left if j.verdict != UNINFORMATIVE and not _measured(j)]
    scarce = [j for j in left if j.verdict != UNINFORMATIVE and _measured(j)]
    its = "its" if len(chance) == 1 else "their"
    reasons = [
        (scarce, "for want of data"),
        (chance, f"because {its} scores or selections are those of chance"),
        (empty, f"for lack of rows that measure {'it' if len(empty) == 1 else 'them'}"),
    ]
    groups = [(group, reason) for group, reason in reasons if group]
    whole = f"{'all' if len(left) == len(claims) > 1 else 'the other'} {number(len(left))}"
    if len(claims) in (1, 2) and len(left) == len(claims):
        whole = "it" if len(claims) == 1 else "both"
    if len(groups) == 1:
        [(group, reason)] = groups
        return f"{whole} {_are(left)} open {reason} ({_numbers(group)})"
    listed = [f"{number(len(group))} {reason} ({_numbers(group)})" for group, reason in groups]
    return f"{whole} {_are(left)} open: {_joined(listed)}"


def _differing(contrasts: Contrasts) -> str:
    """The contrasts that differ from zero, with their effects."""
    total = sum(map(len, contrasts.values()))
    differing = [
        _contrast(judged, heading, f", {judged.effect.mean:+.1f} points")
        for heading, of_policy in contrasts.items()
        for judged in of_policy
        if judged.verdict == FAILS  # of "the two are on par"
    ]
    if not total:
        return ""
    if not differing:
        return f"none of this project's {number(total)} contrasts is shown to differ from zero"
    verb = "is" if len(differing) == 1 else "are"
    return (
        f"of this project's {number(total)} contrasts, {number(len(differing))} {verb} shown to "
        f"differ from zero: {_joined(_capped(differing))}"
    )


def _alike(contrasts: Contrasts) -> str:
    alike = [
        _contrast(judged, heading)
        for heading, of_policy in contrasts.items()
        for judged in of_policy
        if judged.verdict == HOLDS
    ]
    if not any(contrasts.values()):
        return ""
    if not alike:
        return "no contrast is shown to be on par with zero"
    noun = "contrast is" if len(alike) == 1 else "contrasts are"
    return f"{number(len(alike))} {noun} on par with zero: {_joined(_capped(alike))}"


def _undecided(contrasts: Contrasts) -> str:
    judged = [j for of_policy in contrasts.values() for j in of_policy]
    chance = sum(j.verdict == UNINFORMATIVE for j in judged)
    scarce = sum(j.verdict not in (HOLDS, FAILS, UNINFORMATIVE) for j in judged)
    groups = [(scarce, "open for want of data"), (chance, "uninformative, at chance")]
    listed = [f"{number(count)} {'is' if count == 1 else 'are'} {word}"
              for count, word in groups if count]  # fmt: skip
    if not judged:
        return ""
    return f"of the contrasts, {_joined(listed)}" if listed else "no contrast is left open"


def _contrast(judged: Judgement, heading: str, more: str = "") -> str:
    name, _, about = judged.text.partition(": ")
    rates = heading if " minus " in heading else f"{heading} rates"
    return f"{name} ({', '.join(filter(None, (about, rates)))}{more})"


def _statements(judgements: Sequence[Judgement], before: str = "") -> str:
    return _joined(_capped([f"{before}{_clause(j.text)} ({j.claim})" for j in judgements]))


def _clause(text: str) -> str:
    """A statement as it stands inside a sentence."""
    first = text.partition(" ")[0]
    plain = len(first) > 1 and first.istitle() and first.partition("^")[0] not in _NAMES
    return text[0].lower() + text[1:] if plain else text


def _capped(items: Sequence[str]) -> list[str]:
    """The first ``MOST_NAMED`` of them, and how many more; all where only one would be left."""
    if len(items) <= MOST_NAMED + 1:
        return list(items)
    return [*items[:MOST_NAMED], f"{number(len(items) - MOST_NAMED)} more"]


def _joined(items: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def _numbers(judgements: Sequence[Judgement]) -> str:
    """The numbers of the claims, each once."""
    return ", ".join(dict.fromkeys(judged.claim for judged in judgements))


def _are(group: Sequence[Judgement]) -> str:
    return "is" if len(group) == 1 else "are"


def number(count: int) -> str:
    """The number in words up to twelve."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
