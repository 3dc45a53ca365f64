"""Does AA-focused win by architecture or by step size?

In the released code the rationals' coefficients have learning rate 0.01 and the switches 0.05,
while the adapters' weights, and all of Baseline, have 1e-4. So part of the gain ascribed to the
architecture may come from larger steps. This study sweeps over learning rates (a "ladder") and
gives each method the rates that are best for it on the development sets. It then compares the
methods at the released rates and at their own best rates.
"""

import dataclasses
import itertools

from aa_ray.core import architectures
from aa_ray.core.architectures import BASELINE
from aa_ray.core.backbones import RELEASED_RATES, Rates
from aa_ray.report import statistics
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed, seeds_text
from aa_ray.report.verdicts import MARGIN
from aa_ray.study.grid import Study, Variant

# The AA-focused method whose advantage over Baseline is examined.
FOCUSED = "aa-focused-sim"

ADAPTER_LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
RATIONAL_LADDER = (1e-3, 1e-2, 1e-1)
SWITCH_LADDER = (5e-3, 5e-2, 5e-1)


def ladder() -> list[Rates]:
    """The learning rates of the sweep.

    All combinations of adapter and rational rates with the released switch rate, and all
    combinations of adapter and switch rates with the released rational rate.
    """
    rationals = itertools.product(ADAPTER_LADDER, RATIONAL_LADDER)
    switches = itertools.product(ADAPTER_LADDER, SWITCH_LADDER)
    crossed = [dataclasses.replace(RELEASED_RATES, adapter=a, rational=r) for a, r in rationals]
    switched = [dataclasses.replace(RELEASED_RATES, adapter=a, switch=s) for a, s in switches]
    return list(dict.fromkeys([*crossed, *switched]))


def variant(rates: Rates) -> Variant:
    """The study's variant with these rates."""
    settings = (
        ("learning_rate", rates.adapter),
        ("rational_learning_rate", rates.rational),
        ("switch_learning_rate", rates.switch),
    )
    return Variant("rates " + " ".join(f"{rate:g}" for _, rate in settings), settings)


def with_ladder(study: Study) -> Study:
    """The study at all rates of the sweep; N always comes from the study's own rates."""
    return study.with_variants(map(variant, ladder()), select_per_variant=False)


def at(line: Line, rates: Rates) -> Line:
    """The line with these rates."""
    return dataclasses.replace(line, variant=variant(rates).name)


def best_rates(results: Results, line: Line, regime: str) -> Rates | None:
    """The rates with the highest mean development metric over tasks and seeds.

    Only complete steps count, and ties go to the first. None without a complete step.
    """
    complete = len(results.study.tasks) * len(results.study.seeds_of(regime))
    means: dict[Rates, float] = {}
    for rates in ladder():
        by_task = results.rows(at(line, rates), regime).values()
        values = [row["dev_metric"] for rows in by_task for row in rows.values()]
        if len(values) == complete:
            means[rates] = statistics.mean(values)
    return max(means, key=lambda rates: means[rates]) if means else None


def average(results: Results, line: Line, regime: str) -> float | None:
    """Average test score x 100 over the tasks; None while a task has no row."""
    by_task = results.rows(line, regime).values()
    metrics = [[row["test_metric"] for row in rows.values()] for rows in by_task if rows]
    means = [100 * statistics.mean(of_task) for of_task in metrics]
    return statistics.mean(means) if len(means) == len(results.study.tasks) else None


def verdict(released: Effect, best: Effect) -> str:
    """The cause of AA-focused's advantage over Baseline.

    Args:
        released, best: the advantage at the released rates, and at each method's best rates.
    """
    if not released.low > 0:
        return "open: no significant advantage at the released rates"
    if best.low > 0:
        return "architecture: the advantage stays when each method has its own rates"
    if best.high < MARGIN:
        return "step size: the advantage is gone when each method has its own rates"
    return "open: not enough data at the chosen rates"


def table(results: Results) -> Table:
    """Scores at the released and best rates by regime and method, compared with Baseline."""
    study, lines = results.study, results.lines()
    sections, verdicts = [], []
    for regime in study.regimes:
        best = {line.method: best_rates(results, line, regime) for line in lines}
        body = [(line.title, _entries(results, line, regime, best)) for line in lines]
        sections.append(Section(results.regime_title(regime), body))
        verdicts.append(f"{results.regime_title(regime)}: {_judge(results, regime, best)}.")
    caption = (
        "Step size. Average test score (x 100) with the released learning rates and with those "
        "chosen for each method on development sets; differences from Baseline with 95 % "
        "intervals, paired over task and seed. Rates are adapter / rational / switch, without "
        f"those that a method does not use. Backbone {study.backbone.identity}, tasks "
        f"{listed(study.tasks)}, seeds {seeds_text(study.seeds)}.\n"
        f"Does AA-focused win by architecture or by step size? {' '.join(verdicts)}"
    )
    columns = ["released", "- Baseline", "chosen rates", "chosen", "- Baseline's chosen"]
    return Table(caption, columns, sections)


def _judge(results: Results, regime: str, best: dict[str, Rates | None]) -> str:
    of_focused, of_baseline = best.get(FOCUSED), best.get(BASELINE)
    if of_focused is None or of_baseline is None:
        return "open: the sweep over rates is not complete"
    focused = Line("", FOCUSED)
    released = _over_baseline(results, regime, focused, RELEASED_RATES, RELEASED_RATES)
    return verdict(released, _over_baseline(results, regime, focused, of_focused, of_baseline))


def _over_baseline(
    results: Results, regime: str, line: Line, rates: Rates, of_baseline: Rates
) -> Effect:
    """The line's score at its rates minus Baseline's at Baseline's rates."""
    return results.effect(at(line, rates), at(Line("", BASELINE), of_baseline), [regime])


def _entries(
    results: Results, line: Line, regime: str, best: dict[str, Rates | None]
) -> list[Entry]:
    released = _over_baseline(results, regime, line, RELEASED_RATES, RELEASED_RATES)
    entries = [_score(results, at(line, RELEASED_RATES), regime), _difference(released, line)]
    rates, of_baseline = best[line.method], best.get(BASELINE)
    if rates is None:
        return [*entries, Entry(DASH), Entry(DASH), Entry(DASH)]
    names = architectures.get(line.method).rates
    shown = listed((f"{getattr(rates, name):g}" for name in names), " / ")
    entries += [Entry(shown), _score(results, at(line, rates), regime)]
    if of_baseline is None:
        return [*entries, Entry(DASH)]
    effect = _over_baseline(results, regime, line, rates, of_baseline)
    return [*entries, _difference(effect, line)]


def _score(results: Results, line: Line, regime: str) -> Entry:
    mean = average(results, line, regime)
    return Entry(DASH) if mean is None else Entry(f"{mean:.1f}", mean=mean)


def _difference(effect: Effect, line: Line) -> Entry:
    if line.method == BASELINE or not effect.pairs:
        return Entry(DASH)
    text = f"{effect.mean:+.1f}"
    if effect.bounded:
        text += f" ({effect.low:+.1f} to {effect.high:+.1f})"
    return Entry(text, mean=effect.mean)
