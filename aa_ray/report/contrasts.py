"""The primary contrasts of this project's own study: what each part of AA contributes.

Each contrast is a weighted sum of paired differences. For example, "activation" is rational minus
ReLU, averaged over adapters in all layers and in the last N. ``docs/protocol.md`` fixes them. All
contrasts under all policies (such as released and tuned rates) are tested together, with Holm's
method.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from aa_ray.core.architectures import AA, BASELINE
from aa_ray.report.claims_table import AT_CHANCE, counts, freedom, interval, largest, p_value, seeds
from aa_ray.report.comparisons import Evidence, Part, contrast
from aa_ray.report.judgement import Judgement, draft, settle
from aa_ray.report.results import Line, Results
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed, seeds_text
from aa_ray.report.verdicts import ALPHA, FAILS, HOLDS, MARGIN, Region, Rule

Pair = tuple[Line, Line]


class Contrast(NamedTuple):
    """A weighted sum of differences of two lines.

    Attributes:
        name: on the command line.
        text: its name in words.
        pairs: (weight, the two lines).
    """

    name: str
    text: str
    pairs: tuple[tuple[float, Pair], ...]


def _pair(first: str, second: str) -> Pair:
    return Line("", first), Line("", second)


_ALL, _LAST = _pair("rational-only", BASELINE), _pair("rational-last-n", "baseline-last-n")
_RELU, _RATIONAL = _pair("baseline-last-n", BASELINE), _pair("rational-last-n", "rational-only")

CONTRASTS = (
    Contrast("activation", "activation: rational minus ReLU", ((0.5, _ALL), (0.5, _LAST))),
    Contrast("depth", "depth: last N minus all layers", ((0.5, _RELU), (0.5, _RATIONAL))),
    Contrast("activation-x-depth", "activation x depth", ((1.0, _LAST), (-1.0, _ALL))),
    Contrast("rational-in-aa", "AA minus Switch-only", ((1.0, _pair(AA, "switch-only")),)),
    Contrast("selection", "selection: AA-focused^spec minus Random^AA",
             ((1.0, _pair("aa-focused-spec", "random-n")),)),
)  # fmt: skip

# The contrast that is compared across policies.
ACROSS = Contrast("rates", "AA minus Baseline", ((1.0, _pair(AA, BASELINE)),))

DIFFERS, ALIKE = "differs", "on par"
_WORDS = {HOLDS: ALIKE, FAILS: DIFFERS}

INTERVAL = "95 % interval"
COLUMNS = ["effect", INTERVAL, "pairs", "df", "largest cell", "learned", "p differs",
           "p on par", "verdict", "seeds to settle"]  # fmt: skip


NAMES = (*(shown.name for shown in CONTRASTS), ACROSS.name)


class Look(NamedTuple):
    """The contrasts to test together, and the level and margin of the tests.

    Attributes:
        only: names of contrasts, optionally after the name of a policy and a colon, such as
            ``released:selection``; empty for all.
        alpha: probability of a wrong verdict among those tested.
        margin: points within which two methods are on par.
    """

    only: tuple[str, ...] = ()
    alpha: float = ALPHA
    margin: float = MARGIN

    def includes(self, policy: str, name: str) -> bool:
        return not self.only or name in self.only or f"{policy}:{name}" in self.only


# All contrasts at 5 %, as the protocol plans them.
PLANNED = Look()


def rule(margin: float, alpha: float = ALPHA) -> Rule:
    """The rule for "the two are on par", which any difference refutes."""
    return Rule(
        f"on par: {100 - 200 * alpha:g} % interval within ±{margin:g} points; differs: "
        f"{100 - 100 * alpha:g} % interval without 0",
        Region(-margin, margin),
        (Region(low=0.0, two_sided=True), Region(high=0.0, two_sided=True)),
    )


def judge(policies: Mapping[str, Results], look: Look = PLANNED) -> dict[str, list[Judgement]]:
    """The contrasts under each policy, and across the first two.

    Args:
        policies: name -> the study's results under it.
        look: the contrasts to test together, and how strictly.

    Returns:
        Heading -> judgements; p values are adjusted for the total number of judgements.
    """
    of_margin = rule(look.margin, look.alpha)
    drafts = {
        name: [
            draft("", shown.text, under(results, shown), of_margin)
            for shown in CONTRASTS
            if look.includes(name, shown.name)
        ]
        for name, results in policies.items()
    }
    for name, shown in across(policies).items():
        if look.includes(name, ACROSS.name):
            drafts[name] = [draft("", ACROSS.text, shown, of_margin)]
    judged = iter(settle(list(itertools.chain.from_iterable(drafts.values())), look.alpha))
    return {name: [next(judged) for _ in some] for name, some in drafts.items() if some}


def under(results: Results, shown: Contrast) -> Evidence:
    """The evidence for a contrast under one policy."""
    return contrast(_parts(results, shown, 1.0), results.study.regimes)


def across(policies: Mapping[str, Results]) -> dict[str, Evidence]:
    """Heading -> evidence for ``ACROSS`` between the first two policies; empty for one policy."""
    if len(policies) < 2:
        return {}
    (first, one), (second, other) = list(policies.items())[:2]
    between = _parts(one, ACROSS, 1.0) + _parts(other, ACROSS, -1.0)
    regimes = [r for r in one.study.regimes if r in other.study.regimes]
    return {f"{first} minus {second}": contrast(between, regimes)}


def _parts(results: Results, shown: Contrast, sign: float) -> list[Part]:
    return [Part(results, pair, sign * weight) for weight, pair in shown.pairs]


def table(policies: Mapping[str, Results], look: Look = PLANNED) -> Table:
    """The judged contrasts: a section for each policy, and one across the first two."""
    sections = [
        Section(name, [(judged.text, _entries(judged, look.alpha)) for judged in judgements])
        for name, judgements in judge(policies, look).items()
    ]
    study = next(iter(policies.values())).study
    caption = (
        f"Contrasts, for backbone {study.backbone.identity}, tasks {listed(study.tasks)}, regimes "
        f"{listed(study.regimes)}, seeds {seeds_text(study.seeds)}. Points of score (x 100), "
        f"paired by seed, averaged over cells. {AT_CHANCE}\n"
        f"Rule: {rule(look.margin, look.alpha).text}. p values "
        "are adjusted by Holm's method for all contrasts of this table, separately for the two "
        f"verdicts; a verdict needs p of at most {100 * look.alpha:g} %. Seeds to settle: seeds "
        "per cell for a verdict with probability 80 %, if means and spreads stay the same."
    )
    columns = [f"{100 - 100 * look.alpha:g} % interval" if c == INTERVAL else c for c in COLUMNS]
    return Table(caption, columns, sections)


def _entries(judged: Judgement, alpha: float) -> list[Entry]:
    effect = judged.effect
    known = effect.pairs > 0
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean) if known else Entry(DASH),
        Entry(interval(effect, 1 - alpha)),
        Entry(str(effect.pairs), mean=effect.pairs),
        Entry(freedom(effect)),
        Entry(largest(effect)),
        Entry(counts(judged.learned)),
        p_value(judged.fails),
        p_value(judged.holds),
        Entry(_WORDS.get(judged.verdict, judged.verdict)),
        Entry(seeds(judged.seeds_needed)),
    ]
