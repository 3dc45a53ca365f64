"""The paired comparisons behind the claims, and the evidence for each from rows.

Two methods on the same task, regime and seed share examples, order and initial state. A cell (task
and regime) counts if at least one of the two lines has learned something there; otherwise a
difference of 0 says nothing. If rows do not tell what chance is, the cell counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from aa_ray.core.architectures import AA, BASELINE, SPEC, N, Selection
from aa_ray.data import regimes
from aa_ray.report import verdicts
from aa_ray.report.learned import State
from aa_ray.report.paired import stratum
from aa_ray.report.resampling import cells_ahead
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect, Stratum, stratified_effect
from aa_ray.report.verdicts import MakeRule

# A cell of a comparison: task and regime.
Key = tuple[str, str]

# A verdict needs at least this many informative cells, or the only cell of the study.
FEWEST_CELLS = 2


class Regimes(Enum):
    """The regimes to which a claim applies."""

    LOW_DATA, FULL, ALL = "low data", "full data", "all"

    def includes(self, name: str) -> bool:
        low = regimes.get(name).low_data
        return low if self is Regimes.LOW_DATA else not low if self is Regimes.FULL else True


@dataclass(frozen=True)
class Comparison:
    """One paired comparison: ``method`` minus ``other``, over the study's regimes in ``regimes``.

    Attributes:
        rule: (margin in points) -> the rule.
        each_task: whether the claim is about each task rather than their average.
    """

    claim: str
    text: str
    method: Line
    other: Line
    rule: MakeRule
    regimes: Regimes
    each_task: bool = False


def _line(method: str, depth: Selection | None = None) -> Line:
    return Line(method, method, depth)


AA_LINE, BASELINE_LINE = _line(AA), _line(BASELINE)
FOCUSED_SPEC, FOCUSED_UNI = _line("aa-focused-spec"), _line("aa-focused-uni")
FOCUSED_SIM = _line("aa-focused-sim")
DROP_AA, DROP_N = _line("adapter-drop", SPEC), _line("adapter-drop", N)

_LOW, _FULL, _ALL = Regimes.LOW_DATA, Regimes.FULL, Regimes.ALL
_FOCUSED = (("spec", FOCUSED_SPEC), ("uni", FOCUSED_UNI), ("sim", FOCUSED_SIM))

COMPARISONS = (
    Comparison("C1", "AA is on par with Baseline", AA_LINE, BASELINE_LINE, verdicts.on_par, _ALL),
    *(
        Comparison("C2", f"AA-focused^{name} beats Baseline on every task", line, BASELINE_LINE,
                   verdicts.better, _LOW, each_task=True)
        for name, line in _FOCUSED
    ),
    *(
        Comparison("C3", f"AA-focused^{name} is on par on full data", line, BASELINE_LINE,
                   verdicts.on_par, _FULL)
        for name, line in _FOCUSED
    ),
    Comparison("C4", "AA-focused^uni is on par with AA-focused^spec", FOCUSED_UNI, FOCUSED_SPEC,
               verdicts.on_par, _ALL),
    Comparison("C5", "AA-focused^sim beats AdapterDrop^N considerably", FOCUSED_SIM, DROP_N,
               verdicts.considerably_better, _ALL),
    Comparison("C6", "AdapterDrop^AA does not beat Baseline", DROP_AA, BASELINE_LINE,
               verdicts.not_better, _ALL),
    Comparison("C6", "AdapterDrop^N does not beat Baseline", DROP_N, BASELINE_LINE,
               verdicts.not_better, _ALL),
    Comparison("C7", "N layers beat N-1", FOCUSED_SIM, _line("focused-last-n-1"),
               verdicts.better, _LOW),
    Comparison("C8", "AA beats Switch-only", AA_LINE, _line("switch-only"), verdicts.better, _ALL),
    Comparison("C9", "Rational-only is on par with Baseline", _line("rational-only"),
               BASELINE_LINE, verdicts.on_par, _ALL),
    Comparison("C10", "AA-focused^sim beats Baseline^N considerably", FOCUSED_SIM,
               _line("baseline-last-n"), verdicts.considerably_better, _ALL),
)  # fmt: skip

# Regime -> gain of AA-focused^uni over Baseline's average in the paper (section 5), in points.
PAPER_GAINS = {"100": 4.24, "300": 5.57, "500": 2.35}


@dataclass(frozen=True)
class Evidence:
    """The evidence from rows for a comparison.

    Attributes:
        strata: the paired differences of each cell with data.
        states: what its lines have learned in each of these cells.
        cells: number of cells of the comparison in the study.
        compared: number of cells in which both lines have rows.
    """

    strata: Mapping[Key, Stratum]
    states: Mapping[Key, tuple[State, ...]]
    cells: int
    compared: int

    @cached_property
    def informative(self) -> dict[Key, Stratum]:
        """The cells in which at least one line has learned, or this is not known."""
        return {
            key: stratum
            for key, stratum in self.strata.items()
            if any(state.informative for state in self.states[key])
        }

    @property
    def known(self) -> bool:
        """Whether rows and data show, for all cells, what has been learned."""
        return all(State.UNKNOWN not in states for states in self.states.values())

    @property
    def enough(self) -> bool:
        """Whether there are enough informative cells for a verdict."""
        return enough_cells(len(self.informative), self.cells)

    @property
    def counted(self) -> Mapping[Key, Stratum]:
        """The cells over which the effect is averaged: the informative ones, or all if none is."""
        return self.informative or self.strata

    @property
    def effect(self) -> Effect:
        """The mean difference over the cells that count."""
        return stratified_effect(self.counted)

    @property
    def ahead(self) -> tuple[int, int]:
        """Minimum number of cells in which the first method is better, and how many count."""
        better = verdicts.better().holds
        effects = [stratified_effect({key: cell}) for key, cell in self.counted.items()]
        return cells_ahead([float(better.p_value(effect)) for effect in effects]), len(effects)

    def groups(self, each_task: bool) -> list[dict[Key, Stratum]]:
        """The cells of each effect that a rule tests: all that count, or the cells of each task."""
        if not each_task:
            return [dict(self.counted)]
        tasks = dict.fromkeys(task for task, _ in self.counted)
        return [{k: s for k, s in self.counted.items() if k[0] == task} for task in tasks]


def enough_cells(informative: int, cells: int) -> bool:
    """Whether this many informative cells are enough for a verdict."""
    return informative >= min(FEWEST_CELLS, cells)


def compared(results: Results, regimes: Regimes) -> list[str]:
    """The study's regimes to which a claim applies."""
    return [regime for regime in results.study.regimes if regimes.includes(regime)]


class Part(NamedTuple):
    """A part of a contrast: the difference of two lines, and its weight.

    Attributes:
        results: results under one policy, such as the released rates.
        pair: the two lines, first minus second.
    """

    results: Results
    pair: tuple[Line, Line]
    weight: float = 1.0


def evidence(results: Results, method: Line, other: Line, regimes: Iterable[str]) -> Evidence:
    """The differences of two lines in the cells of these regimes."""
    return contrast([Part(results, (method, other))], regimes)


def contrast(parts: Sequence[Part], regimes: Iterable[str]) -> Evidence:
    """The weighted sum of differences of two lines, by seed, in the cells of these regimes.

    A cell counts if any of the lines has learned something. Cells in which the two lines of each
    difference are the same training runs are left out, since their difference is 0 by definition.
    """
    strata, states, cells, compared = {}, {}, 0, 0
    studies = [part.results.study for part in parts]
    for regime in regimes:
        runs = [[part.results.runs(line, regime) for line in part.pair] for part in parts]
        for task in studies[0].tasks:
            key = (task, regime)
            if any(task not in study.tasks or key in study.left_out for study in studies):
                continue
            cells += 1
            pairs = [(ours[task], theirs[task]) for ours, theirs in runs]
            cell = stratum(*pairs, weights=[part.weight for part in parts])
            compared += bool(cell.values)
            if cell.values and not all(_same_runs(part, *key) for part in parts):
                strata[key] = cell
                states[key] = tuple(part.results.state(line, *key)
                                    for part in parts for line in part.pair)  # fmt: skip
    return Evidence(strata, states, cells, compared)


def _same_runs(part: Part, task: str, regime: str) -> bool:
    """Whether both lines resolve to the same trials, as two methods with the same layers do."""
    ours, theirs = (part.results.rows(line, regime)[task] for line in part.pair)
    return all(ours[seed] is theirs[seed] for seed in ours if seed in theirs)
