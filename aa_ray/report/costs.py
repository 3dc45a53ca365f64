"""Savings of AA-focused in existing rows (claim C13): parameters, training and test time.

``efficiency.py`` measures the same side by side, and also storage. Here the times are those of the
study's own training runs. Only runs that trained alone on the same machine are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aa_ray.report.comparisons import BASELINE_LINE, FOCUSED_UNI
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect, mean, stratified_effect
from aa_ray.report.verdicts import Region, Rule

if TYPE_CHECKING:
    from aa_ray.store.rows import Row

# "About half" of the parameters; the paper's own are 13 / 24.
HALF = (0.4, 0.6)
# Times that differ by less than this count as equal.
SAME_TIME = 0.05

TIMES: dict[str, Literal["train_seconds", "test_seconds"]] = {
    "training": "train_seconds",
    "inference": "test_seconds",
}

LESS_TIME = Rule(
    f"95 % interval below 1; does not hold if the 90 % interval lies above {1 - SAME_TIME:g}",
    Region(high=1.0, two_sided=True),
    (Region(low=1 - SAME_TIME),),
)


def parameter_ratio(results: Results) -> Effect:
    """Adapter parameters of AA-focused^uni over Baseline's, over regimes; known exactly."""
    ratios = []
    for regime in results.study.regimes:
        focused, full = (results.parameters(line, regime) for line in (FOCUSED_UNI, BASELINE_LINE))
        if focused and full:
            ratios.append(focused[0] / full[0])
    return Effect(mean(ratios), len(ratios), 0.0 if ratios else float("nan"))


def time_ratio(results: Results, column: Literal["train_seconds", "test_seconds"]) -> Effect:
    """Time of AA-focused^uni over Baseline's, paired by seed, over cells."""
    strata = {}
    for regime in results.study.regimes:
        ours, theirs = (results.rows(line, regime) for line in (FOCUSED_UNI, BASELINE_LINE))
        for task in results.study.tasks:
            pairs = [(row, theirs[task].get(seed)) for seed, row in ours[task].items()]
            strata[task, regime] = [
                row[column] / other[column]
                for row, other in pairs
                if other is not None and _comparable(row, other)
            ]
    return stratified_effect(strata)


def _comparable(row: Row, other: Row) -> bool:
    """Whether both runs trained alone on the same device, without interruption."""
    alone = all(len(r["array"] or ()) <= 1 and not r["resumed_after"] for r in (row, other))
    return alone and (row["host"], row["device"]) == (other["host"], other["device"])
