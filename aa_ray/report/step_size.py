"""Does AA-focused win by architecture or by step size?

In the released code the rational's coefficients learn at 0.01 and the switches at 0.05, while the
adapters' weights, and all of Baseline, learn at 1e-4. So part of what is ascribed to the
architecture may be a gain of step size. Here every method is run over a ladder of rates, gets the
rates that are best for it on the development sets, and the methods are compared at the released
rates and at their own best.
"""

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Literal

from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.report import statistics
from aa_ray.report.claims import MARGIN
from aa_ray.report.paper_tables import DASH
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect, stratified_effect
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.store.rows import Row
from aa_ray.study.grid import Study, Variant
from aa_ray.study.queue import TrialQueue

METHODS = ("baseline", "rational-only", "aa", "aa-focused-sim", "baseline-last-n")
SIM, BASELINE = "aa-focused-sim", "baseline"

ADAPTER_LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
RATIONAL_LADDER = (1e-3, 1e-2, 1e-1)
SWITCH_LADDER = (5e-3, 5e-2, 5e-1)

Rates = tuple[float, float, float]  # adapter, rational, switch
RELEASED: Rates = (RELEASED_RATES.adapter, RELEASED_RATES.rational, RELEASED_RATES.switch)


def ladder() -> list[Rates]:
    """Adapter x rational rates with the released switch rate, and the switch rates at each
    adapter rate with the released rational rate."""
    _, rational, switch = RELEASED
    crossed = [(a, r, switch) for a, r in itertools.product(ADAPTER_LADDER, RATIONAL_LADDER)]
    switched = [(a, rational, s) for a, s in itertools.product(ADAPTER_LADDER, SWITCH_LADDER)]
    return list(dict.fromkeys([*crossed, *switched]))


def variant_name(rates: Rates) -> str:
    return "rates " + " ".join(f"{rate:g}" for rate in rates)


def with_ladder(study: Study) -> Study:
    """The study at every step of the ladder; N comes from the study's own rates throughout."""
    names = ("learning_rate", "rational_learning_rate", "switch_learning_rate")
    variants = [
        Variant(variant_name(rates), tuple(zip(names, rates, strict=True))) for rates in ladder()
    ]
    return study.with_variants(variants, select_per_variant=False)


def chosen_rates(results: Results, line: Line, regime: str) -> Rates | None:
    """The rates with the highest mean development metric over tasks and seeds.

    Only steps of the ladder that are complete; the first of equals. None where no step is.
    """
    means: dict[Rates, float] = {}
    for rates in ladder():
        values = _values(results, line, regime, rates, "dev_metric")
        complete = len(results.study.tasks) * len(results.seeds(regime))
        found = [v for of_task in values.values() for v in of_task.values()]
        if len(found) == complete:
            means[rates] = statistics.mean(found)
    return max(means, key=lambda rates: means[rates]) if means else None


Score = Literal["dev_metric", "test_metric"]


def _values(
    results: Results, line: Line, regime: str, rates: Rates, column: Score
) -> dict[str, dict[int, float]]:
    """Task -> seed -> the column's value at those rates."""
    at = dataclasses.replace(line, variant=variant_name(rates))
    rows = {
        task: {seed: results.row(at, task, regime, seed) for seed in results.seeds(regime)}
        for task in results.study.tasks
    }
    return {
        task: {seed: row[column] for seed, row in of_task.items() if row is not None}
        for task, of_task in rows.items()
    }


def average(results: Results, line: Line, regime: str, rates: Rates) -> float | None:
    """Average test score x 100 over the tasks at those rates; None while a task has no row."""
    values = _values(results, line, regime, rates, "test_metric")
    means = [100 * statistics.mean(list(seeds.values())) for seeds in values.values() if seeds]
    return statistics.mean(means) if len(means) == len(results.study.tasks) else None


def compare(
    results: Results, regime: str, first: tuple[Line, Rates], second: tuple[Line, Rates]
) -> Effect:
    """Test score x 100 of the first minus the second, paired over task and seed."""
    a = _values(results, first[0], regime, first[1], "test_metric")
    b = _values(results, second[0], regime, second[1], "test_metric")
    return stratified_effect(
        {task: [100 * (a[task][s] - b[task][s]) for s in a[task] if s in b[task]] for task in a}
    )


def verdict(released: Effect, chosen: Effect) -> str:
    """What the advantage of AA-focused over Baseline is owed to."""
    if not released.low > 0:
        return "open: no sure advantage at the released rates"
    if chosen.low > 0:
        return "architecture: the advantage stays when each method has its own rates"
    if chosen.high < MARGIN:
        return "step size: the advantage is gone when each method has its own rates"
    return "open: not enough data at the chosen rates"


def table(queue: TrialQueue, rows: Iterable[Row]) -> Table:
    """Per regime and method: scores at the released and at the chosen rates, against Baseline."""
    results = Results(queue, rows)
    lines = results.lines()
    sections, verdicts = [], []
    for regime in queue.study.regimes:
        chosen = {line.method: chosen_rates(results, line, regime) for line in lines}
        body = [(line.title, _entries(results, line, regime, chosen)) for line in lines]
        sections.append(Section(results.regime_title(regime), body))
        verdicts.append(f"{results.regime_title(regime)}: {_judge(results, regime, chosen)}.")
    study = queue.study
    caption = (
        "Step size. Average test score (x 100) with the released learning rates and with those "
        "chosen per method on development sets; differences from Baseline with 95 % intervals, "
        "paired over task and seed. Rates are adapter / rational / switch; those that a method "
        f"does not have are left out. Backbone {study.backbone.identity}, tasks "
        f"{', '.join(study.tasks)}, seeds {', '.join(map(str, study.seeds))}.\n"
        f"Does AA-focused win by architecture or by step size? {' '.join(verdicts)}"
    )
    columns = ["released", "- Baseline", "chosen rates", "chosen", "- Baseline's chosen"]
    return Table(caption, columns, sections)


def _judge(results: Results, regime: str, chosen: dict[str, Rates | None]) -> str:
    sim, baseline = chosen.get(SIM), chosen.get(BASELINE)
    if sim is None or baseline is None:
        return "open: the ladder is not complete"
    lines = Line("", SIM), Line("", BASELINE)
    released = compare(results, regime, (lines[0], RELEASED), (lines[1], RELEASED))
    return verdict(released, compare(results, regime, (lines[0], sim), (lines[1], baseline)))


def _entries(
    results: Results, line: Line, regime: str, chosen: dict[str, Rates | None]
) -> list[Entry]:
    baseline = Line("", BASELINE)
    released = compare(results, regime, (line, RELEASED), (baseline, RELEASED))
    entries = [_score(results, line, regime, RELEASED), _difference(released, line)]
    best, of_baseline = chosen[line.method], chosen.get(BASELINE)
    if best is None:
        return [*entries, Entry(DASH), Entry(DASH), Entry(DASH)]
    shown = " / ".join(f"{rate:g}" for rate in _own(line, best))
    entries += [Entry(shown), _score(results, line, regime, best)]
    if of_baseline is None:
        return [*entries, Entry(DASH)]
    at_best = compare(results, regime, (line, best), (baseline, of_baseline))
    return [*entries, _difference(at_best, line)]


def _own(line: Line, rates: Rates) -> tuple[float, ...]:
    """Those of the rates that the method has."""
    if line.method == "aa":
        return rates
    return rates[:1] if line.method in (BASELINE, "baseline-last-n") else rates[:2]


def _score(results: Results, line: Line, regime: str, rates: Rates) -> Entry:
    mean = average(results, line, regime, rates)
    return Entry(DASH) if mean is None else Entry(f"{mean:.1f}", mean=mean)


def _difference(effect: Effect, line: Line) -> Entry:
    if line.method == BASELINE or not effect.pairs:
        return Entry(DASH)
    text = f"{effect.mean:+.1f}"
    if effect.bounded:
        text += f" ({effect.low:+.1f} to {effect.high:+.1f})"
    return Entry(text, mean=effect.mean)
