"""The runs of each method at each learning rate (a "ladder"): the data of the rate figures."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aa_ray.core import architectures
from aa_ray.core.backbones import RELEASED_RATES, Rates
from aa_ray.report import learned, statistics, step_size
from aa_ray.report.comparisons import Key
from aa_ray.report.paired import Run
from aa_ray.report.results import Line, Results
from aa_ray.study.grid import Cell
from aa_ray.study.tuning import Tuning

if TYPE_CHECKING:  # imports pyarrow, which --help of a study does not need
    from aa_ray.store.rows import Row


@dataclass(frozen=True)
class Step:
    """The training runs of a method in one cell at one rate.

    Attributes:
        rate: learning rate of adapters and classifier.
        runs: one per seed with a finished row.
        expected: number of seeds.
    """

    rate: float
    runs: tuple[Run, ...]
    expected: int

    @property
    def scores(self) -> list[float]:
        return [run.score for run in self.runs]

    @property
    def took_off(self) -> int | None:
        """Number of runs above chance; None if that is not known."""
        known = [run.took_off for run in self.runs]
        return None if not known or None in known else sum(map(bool, known))


@dataclass(frozen=True)
class Ladder:
    """A method in one cell at all rates.

    Attributes:
        title: the method's title.
        key: the cell.
        steps: the rates in ascending order.
        chance: score x 100 of the best constant answer; None if it is not known.
        best: the rate that tuning gave the method; None if nothing was tuned.
    """

    title: str
    key: Key
    steps: tuple[Step, ...]
    chance: float | None
    best: float | None = None

    @property
    def empty(self) -> bool:
        return not any(step.runs for step in self.steps)


def test_ladders(results: Results) -> list[Ladder]:
    """Test scores of a study with ``step_size.with_ladder``, by cell, then by method.

    Rational and switch rates are the released ones.
    """
    study = results.study
    cells = itertools.product(study.tasks, study.regimes)
    return [
        _test_ladder(results, line, task, regime)
        for task, regime in cells
        if (task, regime) not in study.left_out
        for line in results.lines()
    ]


def _test_ladder(results: Results, line: Line, task: str, regime: str) -> Ladder:
    steps, chances = [], []
    seeds = len(results.study.seeds_of(regime))
    for rate in step_size.ADAPTER_LADDER:
        rates = dataclasses.replace(RELEASED_RATES, adapter=rate)
        at_rate = step_size.at(line, rates)
        runs = results.runs(at_rate, regime)[task]
        steps.append(Step(rate, tuple(runs.values()), seeds))
        chances.append(results.chance(at_rate, task, regime))
    known = [chance for chance in chances if chance is not None]
    return Ladder(line.title, (task, regime), tuple(steps), known[0] if known else None)


def tuning_ladders(results: Results) -> list[Ladder]:
    """Development scores of the tuning seeds, by cell, then by method.

    Test scores are not used. Empty if rates are not tuned.
    """
    study = results.study
    if study.tuning is None:
        return []
    choices = results.choices()
    ladders = []
    for task, regime in itertools.product(study.tasks, study.regimes):
        for method in study.methods if (task, regime) not in study.left_out else ():
            rows = _tuning_rows(results, study.tuning, method, task, regime)
            choice = choices.get((method, task, regime))
            steps = [_development_step(rates, of_step, len(study.tuning.seeds))
                     for rates, of_step in rows]  # fmt: skip
            levels = [learned.development_chance(row) for _, of_step in rows for row in of_step]
            known = [100 * level.score for level in levels if level is not None]
            ladders.append(
                Ladder(
                    architectures.get(method).title,
                    (task, regime),
                    tuple(steps),
                    statistics.mean(known) if known else None,
                    choice.rates.adapter if choice else None,
                )
            )
    return ladders


def _tuning_rows(
    results: Results, tuning: Tuning, method: str, task: str, regime: str
) -> list[tuple[Rates, list[Row]]]:
    """Each setting that tuning tries for a method and its finished rows, by ascending rate."""
    study = results.study
    cell = Cell(method, task, regime, study.seeds[0], study.variants[0].name)
    return [
        (rates, [row for need in of_step for row in results.finished(need)[:1]])
        for rates, of_step in zip(tuning.settings, study.tuning_cells(cell), strict=True)
    ]


def _development_step(rates: Rates, rows: Sequence[Row], expected: int) -> Step:
    runs = tuple(Run(100 * row["dev_metric"], learned.development_took_off(row)) for row in rows)
    return Step(rates.adapter, runs, expected)
