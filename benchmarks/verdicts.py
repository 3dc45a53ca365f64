"""Do intervals cover the truth, and do verdicts err, as often as they claim? Checked by simulation.

Every table uses studies drawn from a known truth and judged by the functions that judge rows. The
spreads are those of this project's paired differences: 3.0 points (SST-2, 500 examples), 5.7
(SST-2, 100), 18 (STS-B, 500), and cells in which a training run either takes off (60 points) or
fails to (5 points).

    python -m benchmarks.verdicts                          (about five minutes)
    python -m benchmarks.verdicts --simulations 200
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TypeVar

import numpy as np

from aa_ray.report import verdicts
from aa_ray.report.verdicts import MARGIN
from aa_ray.store import provenance
from benchmarks.simulated_studies import (
    Cell,
    Coverage,
    Normal,
    TwoPoints,
    conjunction_error,
    coverage,
    decisions,
    false_in_table,
    false_where_learned,
    improvement_coverage,
    null_rejections,
    predicted_power,
)

SEEDS = (3, 5, 10, 20)
TAKE_OFF = (0.2, 0.5, 0.8)

MIXED: list[tuple[str, list[Cell]]] = [
    ("3.0", [Normal(3.0)]),
    ("5.7", [Normal(5.7)]),
    ("18", [Normal(18.0)]),
    ("3.0, 5.7, 18", [Normal(3.0), Normal(5.7), Normal(18.0)]),
    ("nine of 3.0, one of 18", [*[Normal(3.0)] * 9, Normal(18.0)]),
    ("3.0, 5.7, take-off 0.5 / 0.5", [Normal(3.0), Normal(5.7), TwoPoints(0.5, 0.5)]),
    ("3.0, 5.7, take-off 0.8 / 0.2", [Normal(3.0), Normal(5.7), TwoPoints(0.8, 0.2)]),
    ("two of take-off 0.5 / 0.2", [TwoPoints(0.5, 0.2)] * 2),
]

PAIRS = [
    *(TwoPoints(a, b) for a, b in itertools.combinations_with_replacement(TAKE_OFF, 2)),
    TwoPoints(0.9, 0.7),
    TwoPoints(0.3, 0.0),
]

# Name, rule, the effect at which the claim is just wrong.
RULES = [
    ("beats", verdicts.better(), 0.0),
    ("beats considerably", verdicts.considerably_better(), MARGIN),
    ("on par", verdicts.on_par(), MARGIN),
    ("does not beat", verdicts.not_better(), MARGIN),
]

WINS = ([0.5], [0.7], [0.9], [0.5] * 4, [0.9] * 4, [0.2, 0.5, 0.8, 0.95])

# Rule and cells with their true means and spreads.
WORLDS = [
    (verdicts.better(), "beats", [Normal(3.0, 2.0), Normal(5.7, 3.0)]),
    (verdicts.better(), "beats", [Normal(3.0, 2.0), Normal(18.0, 10.0)]),
    (verdicts.on_par(), "on par", [Normal(3.0), Normal(3.0, 0.5)]),
]


def show(heading: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, each line as soon as it is ready."""
    print(f"\n## {heading}\n")
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


Item = TypeVar("Item")


def by_seeds(
    heading: str,
    label: str,
    rows: Iterable[tuple[object, Item]],
    entry: Callable[[Item, int], object],
) -> None:
    """Print a table with an entry (what is simulated, number of seeds) for each row's item."""
    columns = [label, *(f"{seeds} seeds" for seeds in SEEDS)]
    show(heading, columns, ([name, *(entry(item, n) for n in SEEDS)] for name, item in rows))


def percent(share: float, beside: float | None = None) -> str:
    return f"{100 * share:.1f}" + (f" ({100 * beside:.1f})" if beside is not None else "")


def show_coverage(count: int, rng: np.random.Generator) -> None:
    by_seeds("Coverage of 95 % intervals, by the cells' spreads", "cells", MIXED,
             lambda cells, n: coverage(cells, n, count, rng))  # fmt: skip
    by_seeds("Coverage of 90 % intervals, those of being on par", "cells", MIXED,
             lambda cells, n: coverage(cells, n, count, rng, level=0.9))  # fmt: skip
    about = "One cell of runs that take off or do not: coverage of 95 %"
    pairs = [(pair, [pair]) for pair in PAIRS]
    by_seeds(f"{about} shares and t intervals (mean width)", "take-off", pairs,
             lambda cells, n: with_width(coverage(cells, n, count, rng)))  # fmt: skip
    by_seeds(f"{about} t intervals alone (mean width)", "take-off", pairs,
             lambda cells, n: with_width(coverage(cells, n, count, rng, only_t=True)))  # fmt: skip


def with_width(covered: Coverage) -> str:
    return f"{covered} ({covered.width:.0f})"


def show_errors(count: int, rng: np.random.Generator) -> None:
    by_seeds(
        'False verdicts at the boundary, percent: "holds" where the claim is just wrong',
        "rule, cells",
        [(f"{name}, {title}", (rule, at(cells, mean)))
         for name, rule, mean in RULES for title, cells in MIXED[:4]],
        lambda world, n: percent(decisions(*world, n, count, rng)[0]),
    )  # fmt: skip
    by_seeds(
        'False "beats" where both methods take off alike, percent',
        "take-off",
        [(pair, pair) for pair in PAIRS if pair.first == pair.second],
        lambda pair, n: percent(decisions(verdicts.better(), [pair], n, count, rng)[0]),
    )
    by_seeds(
        'False "beats" over six cells that take off alike, of which those count in which a run '
        "did, percent (uninformative)",
        "take-off",
        [(pair, [pair] * 6) for pair in (TwoPoints(0.05, 0.05), TwoPoints(0.2, 0.2))],
        lambda cells, n: percent(*false_where_learned(cells, n, count, rng)),
    )
    by_seeds(
        'Any false "holds" among wrong claims, percent: with Holm\'s method (without)',
        "",
        [("12 claims", 12)],
        lambda claims, n: percent(*false_in_table(claims, n, count // 4, rng)),
    )
    by_seeds(
        '"In at least k cells" too large, percent (three of six cells have an effect)',
        "",
        [("6 cells", None)],
        lambda _, n: percent(conjunction_error(n, count, rng)),
    )
    rejected = map(percent, null_rejections(count // 2, rng))
    show("Null models rejected at 5 % where they are right, percent", ["null model", "rejected"],
         zip(("random sets", "relabelled tasks"), rejected, strict=True))  # fmt: skip


def at(cells: Sequence[Cell], mean: float) -> list[Cell]:
    """Return normal cells with that mean."""
    return [cell._replace(mean=mean) if isinstance(cell, Normal) else cell for cell in cells]


def show_others(count: int, rng: np.random.Generator) -> None:
    by_seeds(
        "Coverage of P(A > B): Wilson (percentile bootstrap)",
        "P(A > B) by cell",
        [(", ".join(f"{p:g}" for p in wins), wins) for wins in WINS],
        lambda wins, n: percent(*improvement_coverage(wins, n, count, rng)),
    )
    predicted = [predicted_power(rule, cells, count, rng) for rule, _, cells in WORLDS]
    names = [
        f"{name}, " + ", ".join(f"({cell.mean:g}, {cell.deviation:g})" for cell in cells)
        for _, name, cells in WORLDS
    ]
    show("Seeds to settle at 80 %, and how many studies of that size come to a verdict",
         ["rule, (mean, spread) of the cells", "seeds", "decided, percent"],
         ((name, seeds, percent(share))
          for name, (seeds, share) in zip(names, predicted, strict=True)))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000, help="studies an entry")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation")
    options = parser.parse_args()
    count, rng = options.simulations, np.random.default_rng(options.seed)
    commit, changed = provenance.commit()
    print(f"{count} studies an entry, seed {options.seed}, {date.today()}, commit "
          f"{(commit or 'unknown')[:10]}{'+changes' * bool(changed)}; an entry of 95 has a "
          f"standard error of {100 * np.sqrt(0.95 * 0.05 / count):.1f}.")  # fmt: skip
    show_coverage(count, rng)
    show_errors(count, rng)
    show_others(count, rng)


if __name__ == "__main__":
    main()
