"""The paper's claims, judged from rows: effect, 95 % interval, tests, verdict.

An effect on scores is the mean difference of test scores x 100 over cells (task x regime) with
equal weights. ``comparisons`` defines what is compared and which cells count; ``verdicts`` has the
rules. "On par" and "considerably" need a margin, which the paper does not give.
``verdicts.MARGIN`` is this project's default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from aa_ray.report import claims_table, costs, learned_activations, selections, verdicts
from aa_ray.report.comparisons import (
    BASELINE_LINE,
    COMPARISONS,
    FOCUSED_UNI,
    PAPER_GAINS,
    Comparison,
    Regimes,
    compared,
    enough_cells,
    evidence,
)
from aa_ray.report.judgement import NAN, Draft, Judgement, draft, settle
from aa_ray.report.nulls import NullTest
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect
from aa_ray.report.tables import Table
from aa_ray.report.verdicts import (
    ALPHA,
    FAILS,
    HOLDS,
    MARGIN,
    NOT_RUN,
    OPEN,
    UNINFORMATIVE,
)

AT_CHANCE = claims_table.AT_CHANCE


def judge(results: Results, margin: float = MARGIN) -> list[Judgement]:
    """All claims that rows can decide, in the order of their numbers.

    Args:
        margin: points within which two methods are on par.
    """
    drafts = [_compare(results, comparison, margin) for comparison in COMPARISONS]
    low_data = compared(results, Regimes.LOW_DATA)
    drafts += [_gain(results, regime, margin) for regime in low_data if regime in PAPER_GAINS]
    drafts += [Draft(judgement) for judgement in _of_aa(results) + _costs(results)]
    return sorted(settle(drafts), key=lambda judgement: int(judgement.claim[1:]))


def table(
    results: Results, margin: float = MARGIN, judgements: Iterable[Judgement] | None = None
) -> Table:
    """The judgements as a table; pass ``judgements`` if they have already been made."""
    return claims_table.table(
        results, judge(results, margin) if judgements is None else judgements, margin
    )


def _compare(results: Results, comparison: Comparison, margin: float) -> Draft:
    regimes = compared(results, comparison.regimes)
    shown = evidence(results, comparison.method, comparison.other, regimes)
    rule = comparison.rule(margin)
    return draft(comparison.claim, comparison.text, shown, rule, comparison.each_task)


def _gain(results: Results, regime: str, margin: float) -> Draft:
    """C2's effect sizes: does AA-focused^uni gain as much as in the paper?"""
    shown = evidence(results, FOCUSED_UNI, BASELINE_LINE, [regime])
    gain = PAPER_GAINS[regime]
    text = f"AA-focused^uni gains {gain:.2f} points over Baseline with {regime} examples"
    return draft("C2", text, shown, verdicts.near(gain, margin))


def _of_aa(results: Results) -> list[Judgement]:
    """C1's share of layers, C11 and C12: what ``aa`` selects and learns, if it is above chance."""
    judgements = [_share_of_layers(results), *_activations(results), *_layer_sets(results)]
    cells = selections.cells(results)
    if not cells:
        return [judgement.untested(NOT_RUN) for judgement in judgements]
    informative = sum(state.informative for state in cells.values())
    if selections.known(cells):
        learned = informative, len(cells)
        judgements = [dataclasses.replace(j, learned=learned) for j in judgements]
    if not enough_cells(informative, len(cells)):
        return [judgement.untested(UNINFORMATIVE) for judgement in judgements]
    return judgements


def _share_of_layers(results: Results) -> Judgement:
    effect, rule = selections.share_of_layers(results), selections.SHARE_OF_LAYERS
    holds, fails = rule.test([effect])
    text = "AA uses 13 to 15 of 24 layers (0.54 to 0.625)"
    return Judgement("C1", text, effect, "share of layers", rule.text, OPEN,
                     holds=float(holds), fails=float(fails),
                     band=(rule.holds.low, rule.holds.high))  # fmt: skip


def _activations(results: Results) -> list[Judgement]:
    rule = "more than relabelled ones (permutation test at 5 %)"
    tests = {
        "layers": learned_activations.between_layers(results),
        "tasks": learned_activations.between_tasks(results),
    }
    return [
        _permuted("C11", f"Learned activations differ between {labels}", test, "RMS of R(x)", rule)
        for labels, test in tests.items()
    ]


def _layer_sets(results: Results) -> list[Judgement]:
    """C12. Sets that differ only as much as random ones are no evidence of a selection."""
    effect, test = selections.seeds_distance(results)
    holds, fails = selections.seeds_p_values(effect, test)
    rule = (
        f"95 % interval above {selections.SAME_SETS:g}, and more alike than random sets, else "
        f"uninformative; does not hold if the interval lies below {selections.SAME_SETS:g}"
    )
    seeds = Judgement("C12", "AA selects different layers for different seeds", effect,
                      "Jaccard distance", rule, OPEN, holds=holds, fails=fails,
                      null=_null(test), band=_null_band(test))  # fmt: skip
    if test is not None and test.below > ALPHA and not fails <= ALPHA:
        seeds = seeds.untested(UNINFORMATIVE)
    between = selections.tasks_distance(results)
    text = "AA selects different layers for different tasks"
    rule = "more than for different seeds of a task (permutation test at 5 %)"
    return [seeds, _permuted("C12", text, between, "Jaccard distance", rule)]


def _permuted(claim: str, text: str, test: NullTest | None, unit: str, rule: str) -> Judgement:
    """A claim decided by a permutation test, which cannot show that a claim is wrong."""
    effect = Effect(test.observed if test else NAN)
    holds = test.above if test else NAN
    return Judgement(claim, text, effect, unit, rule, OPEN, holds=holds, null=_null(test),
                     band=_null_band(test))  # fmt: skip


def _null_band(test: NullTest | None) -> tuple[float, float] | None:
    if test is None:
        return None
    return test.mean - 2 * test.deviation, test.mean + 2 * test.deviation


def _null(test: NullTest | None) -> str:
    return "" if test is None else f"{test.mean:+.2f}±{test.deviation:.2f}"


def _costs(results: Results) -> list[Judgement]:
    """C13: parameters, which are exact, and times from the rows."""
    ratio = costs.parameter_ratio(results)
    low, high = costs.HALF
    verdict = NOT_RUN if not ratio.pairs else HOLDS if low <= ratio.mean <= high else FAILS
    text = "AA-focused^uni needs about half the parameters"
    rule = f"from {low:g} to {high:g} (exact, no sampling)"
    judged = [Judgement("C13", text, ratio, "ratio", rule, verdict, band=costs.HALF)]
    for words, column in costs.TIMES.items():
        effect = costs.time_ratio(results, column)
        holds, fails = costs.LESS_TIME.test([effect])
        text = f"AA-focused^uni takes less time for {words}"
        verdict = OPEN if effect.pairs else NOT_RUN
        judged.append(Judgement("C13", text, effect, "ratio", costs.LESS_TIME.text, verdict,
                                holds=float(holds), fails=float(fails)))  # fmt: skip
    return judged
