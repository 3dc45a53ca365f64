"""Do intervals cover the truth, and verdicts err, as often as they say? Simulated studies tell.

Every table rests on studies drawn from a known truth, judged by the functions that judge rows. The
spreads are those of this project's paired differences: 3.0 points (SST-2, 500 examples), 5.7
(SST-2, 100), 18 (STS-B, 500), and cells in which a training run takes off (60 points) or does not
(5 points).

    python -m benchmarks.verdicts                          (about five minutes)
    python -m benchmarks.verdicts --simulations 200
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np

from aa_ray.report import verdicts
from aa_ray.report.verdicts import MARGIN
from aa_ray.store import provenance
from benchmarks.simulated_studies import (
    Cell,
    Normal,
    TwoPoints,
    conjunction_error,
    coverage,
    decisions,
    false_in_table,
    improvement_coverage,
    null_rejections,
    predicted_power,
)

SEEDS = (3, 5, 10, 20)
TAKE_OFF = (0.2, 0.5, 0.8)


def show(heading: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"\n## {heading}\n")
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


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

RULES = [
    ("beats", verdicts.better(), 0.0),
    ("beats considerably", verdicts.considerably_better(), MARGIN),
    ("on par", verdicts.on_par(), MARGIN),
    ("does not beat", verdicts.not_better(), MARGIN),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation")
    options = parser.parse_args()
    count, rng = options.simulations, np.random.default_rng(options.seed)
    commit, changed = provenance.commit()
    error = 100 * float(np.sqrt(0.95 * 0.05 / count))
    print(f"{count} studies an entry, seed {options.seed}, {date.today()}, commit "
          f"{(commit or 'unknown')[:10]}{'+changes' * bool(changed)}; an entry of 95 has a "
          f"standard error of {error:.1f}.")  # fmt: skip
    seeds = [f"{n} seeds" for n in SEEDS]
    show(
        "Coverage of 95 % intervals, by the cells' spreads",
        ["cells", *seeds],
        ((name, *(coverage(cells, n, count, rng) for n in SEEDS)) for name, cells in MIXED),
    )
    show(
        "Coverage of 90 % intervals, those of being on par",
        ["cells", *seeds],
        ((name, *(coverage(cells, n, count, rng, 0.9) for n in SEEDS)) for name, cells in MIXED),
    )
    pairs = [TwoPoints(a, b) for a, b in itertools.combinations_with_replacement(TAKE_OFF, 2)]
    pairs += [TwoPoints(0.9, 0.7), TwoPoints(0.3, 0.0)]
    for title, only_t in (("shares and t intervals", False), ("t intervals alone", True)):
        show(
            f"One cell of runs that take off or do not: coverage of 95 % {title} (mean width)",
            ["take-off", *seeds],
            (
                (
                    cell,
                    *(
                        f"{c} ({c.width:.0f})"
                        for c in (coverage([cell], n, count, rng, only_t=only_t) for n in SEEDS)
                    ),
                )
                for cell in pairs
            ),
        )
    show(
        'False verdicts at the boundary, percent: "holds" where the claim is just wrong',
        ["rule, cells", *seeds],
        (
            (
                f"{name}, {title}",
                *(percent(decisions(rule, at(cells, mean), n, count, rng)[0]) for n in SEEDS),
            )
            for name, rule, mean in RULES
            for title, cells in MIXED[:4]
        ),
    )
    show(
        'False "beats" where both methods take off alike, percent',
        ["take-off", *seeds],
        (
            (
                cell,
                *(percent(decisions(verdicts.better(), [cell], n, count, rng)[0]) for n in SEEDS),
            )
            for cell in pairs
            if cell.first == cell.second
        ),
    )
    show(
        'Any false "holds" among twelve wrong claims, percent: with Holm\'s method (without)',
        ["", *seeds],
        [
            (
                "12 claims",
                *(
                    f"{percent(a)} ({percent(b)})"
                    for a, b in (false_in_table(12, n, count // 4, rng) for n in SEEDS)
                ),
            )
        ],
    )
    show(
        '"In at least k cells" too large, percent (three of six cells have an effect)',
        ["", *seeds],
        [("6 cells", *(percent(conjunction_error(n, count, rng)) for n in SEEDS))],
    )
    show(
        "Coverage of P(A > B): Wilson (percentile bootstrap)",
        ["cells", *seeds],
        (
            (
                ", ".join(f"{p:g}" for p in wins),
                *(
                    f"{percent(a)} ({percent(b)})"
                    for a, b in (improvement_coverage(wins, n, count, rng) for n in SEEDS)
                ),
            )
            for wins in ([0.5], [0.7], [0.9], [0.5] * 4, [0.9] * 4, [0.2, 0.5, 0.8, 0.95])
        ),
    )
    rejected = null_rejections(count // 2, rng)
    show(
        "Null models rejected at 5 % where they are right, percent",
        ["null model", "rejected"],
        zip(("random sets", "relabelled tasks"), map(percent, rejected), strict=True),
    )
    worlds = [("beats", verdicts.better(), [Normal(3.0, 2.0), Normal(5.7, 3.0)]),
              ("beats", verdicts.better(), [Normal(3.0, 2.0), Normal(18.0, 10.0)]),
              ("on par", verdicts.on_par(), [Normal(3.0), Normal(3.0, 0.5)])]  # fmt: skip
    predicted = [predicted_power(rule, cells, count, rng) for _, rule, cells in worlds]
    show(
        "Seeds to settle at 80 %, and how many studies of that size come to a verdict",
        ["rule, (mean, spread) of the cells", "seeds", "decided, percent"],
        (
            (
                f"{name}, " + ", ".join(f"({c.mean:g}, {c.deviation:g})" for c in cells),
                n,
                percent(share),
            )
            for (name, _, cells), (n, share) in zip(worlds, predicted, strict=True)
        ),
    )


def at(cells: Sequence[Cell], mean: float) -> list[Cell]:
    """Normal cells, with that mean."""
    return [cell._replace(mean=mean) if isinstance(cell, Normal) else cell for cell in cells]


if __name__ == "__main__":
    main()
