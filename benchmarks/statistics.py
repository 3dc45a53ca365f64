"""Do intervals cover the truth, and verdicts err, as often as they say? Simulated studies tell.

Every table rests on studies drawn from a known truth, judged by the functions that judge rows. The
spreads are those of this project's paired differences: 3.0 points (SST-2, 500 examples), 5.7
(SST-2, 100), 18 (STS-B, 500), and cells in which a training run takes off (60 points) or does not
(5 points).

    python benchmarks/statistics.py                          (about ten minutes)
    python benchmarks/statistics.py --simulations 200
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from aa_ray.report import nulls, power, verdicts
from aa_ray.report.paired import Run, stratum
from aa_ray.report.resampling import cells_ahead, improvement
from aa_ray.report.statistics import Stratum, stratified_effect
from aa_ray.report.verdicts import ALPHA, MARGIN, Rule
from aa_ray.store import provenance

SEEDS = (3, 5, 10, 20)
HIGH, LOW, WITHIN = 60.0, 5.0, 3.0  # a run that takes off, one that does not, spread within both
TAKE_OFF = (0.2, 0.5, 0.8)


class Normal(NamedTuple):
    """A cell with normal paired differences."""

    deviation: float
    mean: float = 0.0

    @property
    def truth(self) -> float:
        return self.mean

    def draw(self, seeds: int, rng: np.random.Generator) -> Stratum:
        return Stratum(tuple(rng.normal(self.mean, self.deviation, seeds)))

    def __str__(self) -> str:
        return f"{self.deviation:g}"


class TwoPoints(NamedTuple):
    """A cell in which each method's runs take off with some probability, or do not."""

    first: float
    second: float

    @property
    def truth(self) -> float:
        return (HIGH - LOW) * (self.first - self.second)

    def draw(self, seeds: int, rng: np.random.Generator) -> Stratum:
        sides = []
        for probability in self:
            took_off = rng.random(seeds) < probability
            scores = np.where(took_off, HIGH, LOW) + rng.normal(0, WITHIN, seeds)
            runs = zip(scores.tolist(), took_off.tolist(), strict=True)
            sides.append({seed: Run(*run) for seed, run in enumerate(runs)})
        return stratum((sides[0], sides[1]))

    def __str__(self) -> str:
        return f"{self.first:g} / {self.second:g}"


Cell = Normal | TwoPoints


def study(cells: Sequence[Cell], seeds: int, rng: np.random.Generator) -> dict[int, Stratum]:
    """One study's paired differences."""
    return {k: cell.draw(seeds, rng) for k, cell in enumerate(cells)}


def truth(cells: Sequence[Cell]) -> float:
    """The mean difference that studies of these cells estimate."""
    return float(np.mean([cell.truth for cell in cells]))


class Coverage(NamedTuple):
    """How often an interval holds the truth, and its mean width."""

    share: float
    width: float

    def __str__(self) -> str:
        return f"{100 * self.share:.1f}"


def coverage(
    cells: Sequence[Cell],
    seeds: int,
    simulations: int,
    rng: np.random.Generator,
    level: float = 0.95,
    only_t: bool = False,
) -> Coverage:
    """Of the interval that verdicts rest on; ``only_t``: of the t interval in its place."""
    hits, widths, wanted = 0, 0.0, truth(cells)
    for _ in range(simulations):
        drawn = study(cells, seeds, rng)
        if only_t:
            drawn = {key: Stratum(one.values) for key, one in drawn.items()}
        low, high = stratified_effect(drawn).limits(level)
        hits += bool(low <= wanted <= high)
        widths += float(high - low)
    return Coverage(hits / simulations, widths / simulations)


def decisions(
    rule: Rule, cells: Sequence[Cell], seeds: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often a rule says "holds" and "does not hold"."""
    made = [rule.decide(stratified_effect(study(cells, seeds, rng))) for _ in range(simulations)]
    return made.count(verdicts.HOLDS) / simulations, made.count(verdicts.FAILS) / simulations


def false_in_table(
    claims: int, seeds: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often any of so many claims is said to hold, all of them wrong; and without Holm."""
    rules = itertools.cycle([(verdicts.better(), 0.0), (verdicts.on_par(), MARGIN),
                             (verdicts.considerably_better(), MARGIN),
                             (verdicts.not_better(), MARGIN)])  # fmt: skip
    chosen = list(itertools.islice(rules, claims))
    adjusted = unadjusted = 0
    for _ in range(simulations):
        p_values = []
        for rule, mean in chosen:
            cells = [Normal(3.0, mean), Normal(5.7, mean)]
            p_values.append(float(rule.test([stratified_effect(study(cells, seeds, rng))])[0]))
        adjusted += min(verdicts.holm(p_values)) <= ALPHA
        unadjusted += min(p_values) <= ALPHA
    return adjusted / simulations, unadjusted / simulations


def improvement_coverage(
    probabilities: Sequence[float], seeds: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Coverage of P(A > B): Wilson's interval, and that of a stratified percentile bootstrap."""
    wanted, wilson, bootstrap = float(np.mean(probabilities)), 0, 0
    for _ in range(simulations):
        wins = rng.random((len(probabilities), seeds)) < np.array(probabilities)[:, None]
        values = [Stratum(tuple(np.where(row, 1.0, -1.0))) for row in wins]
        shown = improvement(dict(enumerate(values)))
        wilson += shown is not None and shown.low <= wanted <= shown.high
        resampled = rng.binomial(seeds, wins.mean(axis=1), (500, len(wins))).mean(axis=1) / seeds
        low, high = np.quantile(resampled, [0.025, 0.975])
        bootstrap += bool(low <= wanted <= high)
    return wilson / simulations, bootstrap / simulations


def null_rejections(simulations: int, rng: np.random.Generator, draws: int = 199) -> list[float]:
    """How often the null models are rejected at 5 % where they are right: sets, then labels."""
    rejected = np.zeros(2)
    for _ in range(simulations):
        groups = [rng.random((3, 6)) < 0.6 for _ in range(5)]
        random_sets = nulls.random_sets_test(groups, draws)
        things = rng.random((3, 5, 6)) < 0.6  # [seeds, tasks, layers]
        labels = nulls.label_test([(things, nulls.jaccard)], draws)
        assert random_sets is not None and labels is not None
        rejected += np.array([random_sets.below, labels.above]) <= ALPHA
    return (rejected / simulations).tolist()


def conjunction_error(seeds: int, simulations: int, rng: np.random.Generator) -> float:
    """How often "in at least k cells" is too large, with three real effects in six cells."""
    cells = [Normal(3.0, 10.0)] * 3 + [Normal(3.0)] * 3
    better, wrong = verdicts.better().holds, 0
    for _ in range(simulations):
        effects = [stratified_effect({0: s}) for s in study(cells, seeds, rng).values()]
        wrong += cells_ahead([float(better.p_value(effect)) for effect in effects]) > 3
    return wrong / simulations


def predicted_power(
    rule: Rule, cells: Sequence[Normal], simulations: int, rng: np.random.Generator
) -> tuple[int, float]:
    """Seeds that settle a claim if the cells' spreads are known, and how often they do."""
    spreads = [power.Spread(cell.mean, cell.deviation) for cell in cells]
    seeds = next(n for n in range(2, power.MOST_SEEDS)
                 if power.decided([spreads], rule, n) >= power.POWER)  # fmt: skip
    return seeds, sum(decisions(rule, cells, seeds, simulations, rng))


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
    parser.add_argument("--simulations", type=int, default=4000)
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
