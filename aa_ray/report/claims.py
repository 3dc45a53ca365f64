"""The paper's claims, judged from rows: effect, 95 % interval, rule, verdict.

Comparisons are paired: two methods on the same task, regime and seed share examples, order and
initial state. An effect is the mean difference of test scores x 100 over the strata (task x
regime), which weigh the same; see ``statistics.stratified_effect``. "On par" needs a margin,
which the paper does not give: ``verdicts.MARGIN`` is this project's choice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from aa_ray.core.architectures import AA, BASELINE, SPEC, N, Selection
from aa_ray.data import regimes
from aa_ray.report.activations import activation
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect, seeds_to_settle, stratified_effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed
from aa_ray.report.verdicts import (
    BETTER,
    DIFFER_BEYOND_SEEDS,
    DIFFER_IN_A_TENTH,
    FAILS,
    HOLDS,
    NOT_BETTER,
    ON_PAR,
    OPEN,
    Rule,
)

if TYPE_CHECKING:  # with pyarrow, which --help of a study does not need
    from aa_ray.store.rows import Row

# Rows do not hold what chance is on their test sets, so this is left to the reader.
AT_CHANCE = "Where every method is at chance, as the tables show, a verdict on scores says nothing."


class Regimes(Enum):
    """The regimes of a study that a claim speaks of."""

    LOW_DATA, FULL, ALL = "low data", "full data", "all"

    def includes(self, name: str) -> bool:
        low = regimes.get(name).low_data
        return low if self is Regimes.LOW_DATA else not low if self is Regimes.FULL else True


@dataclass(frozen=True)
class Comparison:
    """One paired comparison: ``method`` minus ``other``, over those of the study's regimes."""

    claim: str
    text: str
    method: Line
    other: Line
    rule: Rule
    regimes: Regimes


@dataclass(frozen=True)
class Judgement:
    """A claim, or a part of one, with its effect and verdict."""

    claim: str
    text: str
    effect: Effect
    unit: str
    rule: str
    verdict: str
    seeds_needed: int | None = None


def _line(method: str, depth: Selection | None = None) -> Line:
    return Line(method, method, depth)


AA_LINE, BASELINE_LINE = _line(AA), _line(BASELINE)
FOCUSED_SPEC, FOCUSED_UNI = _line("aa-focused-spec"), _line("aa-focused-uni")
FOCUSED_SIM = _line("aa-focused-sim")
DROP_AA, DROP_N = _line("adapter-drop", SPEC), _line("adapter-drop", N)

COMPARISONS = (
    Comparison("C1", "AA is on par with Baseline", AA_LINE, BASELINE_LINE, ON_PAR, Regimes.ALL),
    Comparison("C2", "AA-focused^spec beats Baseline", FOCUSED_SPEC, BASELINE_LINE, BETTER,
               Regimes.LOW_DATA),
    Comparison("C2", "AA-focused^uni beats Baseline", FOCUSED_UNI, BASELINE_LINE, BETTER,
               Regimes.LOW_DATA),
    Comparison("C2", "AA-focused^sim beats Baseline", FOCUSED_SIM, BASELINE_LINE, BETTER,
               Regimes.LOW_DATA),
    Comparison("C3", "AA-focused^spec is on par on full data", FOCUSED_SPEC, BASELINE_LINE, ON_PAR,
               Regimes.FULL),
    Comparison("C3", "AA-focused^uni is on par on full data", FOCUSED_UNI, BASELINE_LINE, ON_PAR,
               Regimes.FULL),
    Comparison("C3", "AA-focused^sim is on par on full data", FOCUSED_SIM, BASELINE_LINE, ON_PAR,
               Regimes.FULL),
    Comparison("C4", "AA-focused^uni is on par with AA-focused^spec", FOCUSED_UNI, FOCUSED_SPEC,
               ON_PAR, Regimes.ALL),
    Comparison("C5", "AA-focused^sim beats AdapterDrop^N", FOCUSED_SIM, DROP_N, BETTER,
               Regimes.ALL),
    Comparison("C6", "AdapterDrop^AA does not beat Baseline", DROP_AA, BASELINE_LINE, NOT_BETTER,
               Regimes.ALL),
    Comparison("C6", "AdapterDrop^N does not beat Baseline", DROP_N, BASELINE_LINE, NOT_BETTER,
               Regimes.ALL),
    Comparison("C7", "N layers beat N-1", FOCUSED_SIM, _line("focused-last-n-1"), BETTER,
               Regimes.LOW_DATA),
    Comparison("C8", "AA beats Switch-only", AA_LINE, _line("switch-only"), BETTER, Regimes.ALL),
    Comparison("C9", "Rational-only is on par with Baseline", _line("rational-only"), BASELINE_LINE,
               ON_PAR, Regimes.ALL),
    Comparison("C10", "AA-focused^sim beats Baseline^N", FOCUSED_SIM, _line("baseline-last-n"),
               BETTER, Regimes.ALL),
)  # fmt: skip


def judge(results: Results) -> list[Judgement]:
    """Every claim that rows can speak to, in the order of their numbers."""
    judged = [_compare(results, comparison) for comparison in COMPARISONS]
    judged += [activations_differ(results), parameters_halved(results)]
    judged += [layers_differ(results, between) for between in ("seeds", "tasks")]
    return sorted(judged, key=lambda judgement: int(judgement.claim[1:]))


def _compare(results: Results, comparison: Comparison) -> Judgement:
    compared = filter(comparison.regimes.includes, results.study.regimes)
    effect = results.effect(comparison.method, comparison.other, compared)
    rule = comparison.rule
    verdict = rule.verdict(effect)
    needed = seeds_to_settle(effect, rule.boundary(effect.mean)) if verdict == OPEN else None
    return Judgement(
        comparison.claim, comparison.text, effect, "points", rule.text, verdict, needed
    )


def _aa_rows(results: Results) -> dict[tuple[str, str], list[Row]]:
    """(task, regime) -> the rows of ``aa``, one per seed."""
    return {
        (task, regime): list(by_seed.values())
        for regime in results.study.regimes
        for task, by_seed in results.rows(AA_LINE, regime).items()
    }


# Inputs at which two activations are compared.
GRID = np.linspace(-2.0, 2.0, 41)


def activations_differ(results: Results) -> Judgement:
    """C11: do layers differ by more than chance, that is, by more than one layer between seeds?

    Effect per task and regime: root mean square difference of the activations of two layers of
    one training, minus that of one layer in two trainings, averaged over pairs.
    """
    strata = {}
    for key, rows in _aa_rows(results).items():
        curves = np.array([_curves(row) for row in rows])  # [seeds, layers, grid]
        if len(rows) < 2 or curves.shape[1] < 2:
            continue
        between_layers = _mean_distance(curves.transpose(1, 0, 2))
        between_seeds = _mean_distance(curves)
        strata[key] = [between_layers - between_seeds]
    effect = stratified_effect(strata)
    rule = DIFFER_BEYOND_SEEDS
    text = "Learned activations differ more between layers than between seeds"
    return Judgement("C11", text, effect, "RMS of R(x)", rule.text, rule.verdict(effect))


def _curves(row: Row) -> np.ndarray:
    """[layers, grid] activations at the best epoch."""
    layers = range(row["num_layers"])
    return np.array([activation(row, layer, row["best_epoch"], GRID) for layer in layers])


def _mean_distance(curves: np.ndarray) -> float:
    """Mean over pairs along the first axis [n, m, grid] of the root mean square difference."""
    pairs = itertools.combinations(range(len(curves)), 2)
    squares = [((curves[i] - curves[j]) ** 2).mean(axis=-1) for i, j in pairs]  # each [m]
    return float(np.sqrt(squares).mean())


def layers_differ(results: Results, between: str) -> Judgement:
    """C12: mean Jaccard distance between the layer sets of two seeds of a task, or of two tasks.

    ``between`` is "seeds" or "tasks"; pairs share all but that, and the regime.
    """
    groups: dict[tuple[str, str], list[frozenset[int]]] = {}
    for (task, regime), rows in _aa_rows(results).items():
        for row in rows:
            key = (regime, task if between == "seeds" else str(row["seed"]))
            groups.setdefault(key, []).append(frozenset(row["selected_layers"] or ()))
    strata = {
        key: [float(np.mean([_jaccard(a, b) for a, b in itertools.combinations(sets, 2)]))]
        for key, sets in groups.items()
        if len(sets) > 1
    }
    effect = stratified_effect(strata)
    rule = DIFFER_IN_A_TENTH
    text = f"AA selects different layers for different {between}"
    return Judgement("C12", text, effect, "Jaccard distance", rule.text, rule.verdict(effect))


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """1 - |intersection| / |union|; 0 for two empty sets."""
    return 1 - len(a & b) / len(a | b) if a | b else 0.0


def parameters_halved(results: Results) -> Judgement:
    """C13, the part that rows can show: adapter parameters of AA-focused^uni over Baseline's."""
    ratios = []
    for regime in results.study.regimes:
        focused, full = (results.parameters(line, regime) for line in (FOCUSED_UNI, BASELINE_LINE))
        if focused and full:
            ratios.append(focused[0] / full[0])
    mean = float(np.mean(ratios)) if ratios else float("nan")
    verdict = OPEN if not ratios else HOLDS if mean <= 0.6 else FAILS
    effect = Effect(mean, mean, mean, len(ratios), 0.0, 1.0)
    rule = "at most 0.6 (exact, no sampling)"
    text = "AA-focused^uni needs about half the parameters"
    return Judgement("C13", text, effect, "ratio", rule, verdict)


def table(results: Results, judgements: Iterable[Judgement] | None = None) -> Table:
    """The judgements as a table; ``judgements``: where they have been made already."""
    if judgements is None:
        judgements = judge(results)
    lines = [(f"{judged.claim} {judged.text}", _entries(judged)) for judged in judgements]
    study = results.study
    rules = "; ".join(
        f"{name}: {rule.text}"
        for name, rule in (("beats", BETTER), ("on par", ON_PAR), ("does not beat", NOT_BETTER))
    )
    caption = (
        f"Claims, for backbone {study.backbone.identity}, tasks {listed(study.tasks)}, regimes "
        f"{listed(study.regimes)}, seeds {listed(study.seeds)}. Effects in points "
        "of score (x 100) unless said, with 95 % intervals, paired over task, regime and seed. "
        f"Rules: {rules}. Intervals are not corrected for the number of claims. {AT_CHANCE}"
    )
    columns = ["effect", "95 % interval", "unit", "pairs", "verdict", "seeds to settle"]
    return Table(caption, columns, [Section("Claim", lines)])


def _entries(judged: Judgement) -> list[Entry]:
    effect = judged.effect
    known = not math.isnan(effect.mean)
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean) if known else Entry(DASH),
        Entry(f"{effect.low:+.2f} to {effect.high:+.2f}" if effect.bounded else DASH),
        Entry(judged.unit),
        Entry(str(effect.pairs), mean=effect.pairs),
        Entry(judged.verdict),
        Entry(DASH if judged.seeds_needed is None else f"{judged.seeds_needed}"),
    ]
