"""Draw studies from a known truth and judge them with the functions that judge rows.

``verdicts.py`` prints the outcome of many; ``tests/report/test_coverage.py`` checks fewer.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aa_ray.report import nulls, power, verdicts
from aa_ray.report.comparisons import enough_cells
from aa_ray.report.paired import Run, stratum
from aa_ray.report.resampling import cells_ahead, improvement
from aa_ray.report.statistics import Stratum, stratified_effect
from aa_ray.report.verdicts import ALPHA, MARGIN, Rule

HIGH, LOW, WITHIN = 60.0, 5.0, 3.0  # a run that takes off, one that does not, spread within both


class Normal(NamedTuple):
    """A cell with normally distributed paired differences."""

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
    """A cell in which each method's runs either take off, with some probability, or fail to."""

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
    """Draw one study's paired differences."""
    return {k: cell.draw(seeds, rng) for k, cell in enumerate(cells)}


def truth(cells: Sequence[Cell]) -> float:
    """Return the mean difference that studies of these cells estimate."""
    return float(np.mean([cell.truth for cell in cells]))


class Coverage(NamedTuple):
    """How often an interval covers the truth, and its mean width."""

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
    """Coverage of the interval behind the verdicts; with ``only_t``, of the t interval instead."""
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
    """Return how often a rule says "holds" and "does not hold"."""
    made = [rule.decide(stratified_effect(study(cells, seeds, rng))) for _ in range(simulations)]
    return made.count(verdicts.HOLDS) / simulations, made.count(verdicts.FAILS) / simulations


def false_in_table(
    claims: int, seeds: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return how often any of several false claims "holds", with and without Holm's method."""
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
    """Coverage of P(A > B): Wilson's interval and a stratified percentile bootstrap."""
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


def false_where_learned(
    cells: Sequence[TwoPoints], seeds: int, simulations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often "beats" is said of equal cells if only cells count in which a run takes off.

    Also returns how often too few cells count for a verdict.
    """
    made = uninformative = 0
    for _ in range(simulations):
        drawn = study(cells, seeds, rng)
        counted = {k: s for k, s in drawn.items() if s.shares or abs(np.mean(s.values)) > HIGH / 2}
        if not enough_cells(len(counted), len(cells)):
            uninformative += 1
            continue
        made += verdicts.better().decide(stratified_effect(counted)) == verdicts.HOLDS
    return made / simulations, uninformative / simulations


def null_rejections(simulations: int, rng: np.random.Generator, draws: int = 199) -> list[float]:
    """Return how often true null models are rejected at 5 %: sets, then labels."""
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
    """Return how often "in at least k cells" is too large, with three real effects in six cells."""
    cells = [Normal(3.0, 10.0)] * 3 + [Normal(3.0)] * 3
    better, wrong = verdicts.better().holds, 0
    for _ in range(simulations):
        effects = [stratified_effect({0: s}) for s in study(cells, seeds, rng).values()]
        wrong += cells_ahead([float(better.p_value(effect)) for effect in effects]) > 3
    return wrong / simulations


def predicted_power(
    rule: Rule, cells: Sequence[Normal], simulations: int, rng: np.random.Generator
) -> tuple[int, float]:
    """Return seeds that settle a claim given the cells' spreads, and how often they do."""
    spreads = [power.Spread(cell.mean, cell.deviation) for cell in cells]
    seeds = next(n for n in range(2, power.MOST_SEEDS)
                 if power.decided([spreads], rule, n) >= power.POWER)  # fmt: skip
    return seeds, sum(decisions(rule, cells, seeds, simulations, rng))
