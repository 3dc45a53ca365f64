"""Average scores: per method, and against the number of adapter parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from aa_ray.report import statistics
from aa_ray.report.drawing import (
    BLUE,
    SOFT,
    Drawing,
    empty_figure,
    page_width,
    project_style,
    superscript,
)
from aa_ray.report.results import Line, Results
from aa_ray.report.tables import DASH, Entry, Section, Table

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Minimum distance of two names beside a picture, as a share of its height.
NAME_HEIGHT = 0.075


def scores(results: Results) -> Drawing:
    """Average score per method and regime: all seeds, the mean and its 95 % t interval."""
    study, lines = results.study, results.lines()
    regimes, missing = _drawn(results)
    with project_style():
        width = page_width(1.6 + 1.7 * len(regimes))
        figure = empty_figure((width, 0.8 + 0.2 * len(lines)))
        axes = figure.subplots(1, len(regimes), sharey=True, squeeze=False)[0]
        for regime, ax in zip(regimes, axes, strict=True):
            for i, line in enumerate(lines):
                values = results.averages(line, regime)
                if len(values) < len(study.seeds_of(regime)):
                    missing.append(f"{line.title} {regime}: {len(values)} complete seeds")
                if values:
                    _seeds(ax, values, i)
            ax.set_yticks(range(len(lines)), [superscript(line.title) for line in lines])
            ax.set_title(results.regime_title(regime))
            ax.set_xlabel("average score x 100")
            ax.grid(axis="x", linewidth=0.3)
            # An interval from two seeds may go far beyond all possible scores.
            low, high = ax.get_xlim()
            ax.set_xlim(max(low, -20), min(high, 105))
        axes[0].set_ylim(len(lines) - 0.5, -0.5)
    return Drawing("scores", figure, missing, _scores_table(results))


def _drawn(results: Results) -> tuple[list[str], list[str]]:
    """The regimes in which a method has an average, and a note on the others."""
    regimes = results.study.regimes
    drawn = [r for r in regimes if any(results.averages(line, r) for line in results.lines())]
    missing = [
        f"{results.regime_title(regime)}: no seed has all tasks"
        for regime in regimes
        if regime not in drawn
    ]
    return drawn or list(regimes[:1]), missing


def _seeds(ax: Axes, values: Sequence[float], y: int) -> None:
    """Draw each seed as an open dot, and the mean with its interval above them."""
    mean, half = statistics.mean(values), statistics.half_interval(values)
    ax.plot(values, [y + 0.18] * len(values), "o", color=SOFT, markersize=2.2, zorder=2)
    error = None if math.isnan(half) else [half]
    ax.errorbar([mean], [y - 0.08], xerr=error, fmt="o", capsize=2, color=BLUE, zorder=3)


def _scores_table(results: Results) -> Table:
    def entry(line: Line, regime: str) -> Entry:
        values = results.averages(line, regime)
        if not values:
            return Entry(DASH)
        half = statistics.half_interval(values)
        text = f"{statistics.mean(values):.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")
        return Entry(text, mean=statistics.mean(values), seeds=len(values))

    regimes = results.study.regimes
    lines = [(line.title, [entry(line, r) for r in regimes]) for line in results.lines()]
    caption = "Average score x 100 over the tasks, with 95 % t intervals over the seeds."
    return Table(caption, [results.regime_title(r) for r in regimes], [Section("method", lines)])


class Point(NamedTuple):
    """A method's point: adapter parameters in thousands, and average score x 100."""

    size: float
    score: float


def points(results: Results, regime: str) -> dict[Point, list[str]]:
    """Point -> the titles of the lines there; several if they are the same training runs."""
    places: dict[Point, list[str]] = {}
    for line in results.lines():
        values = results.averages(line, regime)
        if values:
            size = statistics.mean(results.parameters(line, regime)) / 1000
            places.setdefault(Point(size, statistics.mean(values)), []).append(line.title)
    return places


def score_against_parameters(results: Results) -> Drawing:
    """Average score against the number of adapter parameters in use, a picture for each regime.

    The points are named beside the picture.
    """
    regimes, missing = _drawn(results)
    missing += [
        f"{line.title} {regime}"
        for regime in regimes
        for line in results.lines()
        if not results.averages(line, regime)
    ]
    by_regime = {regime: points(results, regime) for regime in regimes}
    columns = min(2, len(by_regime))
    lines = math.ceil(len(by_regime) / columns)
    with project_style():
        figure = empty_figure((page_width(3.3 * columns), 0.4 + 2.0 * lines))
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for ax in axes[len(by_regime) :]:
            ax.set_axis_off()
        for ax, (regime, places) in zip(axes, by_regime.items(), strict=False):
            _named_points(ax, places)
            ax.set_title(results.regime_title(regime))
        figure.supxlabel("adapter parameters in use, thousands", fontsize=8)
        figure.supylabel("average score x 100", fontsize=8)
    return Drawing("score-against-parameters", figure, missing, _points_table(results, by_regime))


def _named_points(ax: Axes, places: dict[Point, list[str]]) -> None:
    """Draw the points, and each one's name to the right, at about its height."""
    if not places:
        ax.set_axis_off()
        return
    for point in places:
        ax.plot(*point, "o", color=BLUE, zorder=3)
    ax.margins(x=0.08, y=0.1)
    ax.locator_params(nbins=5)
    low, high = ax.get_ylim()
    ordered = sorted(places, key=lambda point: point.score)
    heights = apart([(point.score - low) / (high - low) for point in ordered], NAME_HEIGHT)
    for point, height in zip(ordered, heights, strict=True):
        ax.annotate(
            ", ".join(map(superscript, places[point])),
            point,
            (1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=6.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "linewidth": 0.4, "color": SOFT,
                        "shrinkA": 1, "shrinkB": 2},
        )  # fmt: skip


def apart(values: Sequence[float], least: float) -> list[float]:
    """Ascending values, moved until adjacent ones are at least ``least`` apart.

    Values that are too close become a block around their mean.
    """
    blocks: list[list[float]] = []  # each block has the values that move together
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and _bottom(blocks[-1], least) < _top(blocks[-2], least) + least:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_bottom(block, least) + k * least for block in blocks for k in range(len(block))]


def _bottom(block: Sequence[float], least: float) -> float:
    return statistics.mean(block) - least * (len(block) - 1) / 2


def _top(block: Sequence[float], least: float) -> float:
    return statistics.mean(block) + least * (len(block) - 1) / 2


def _points_table(results: Results, by_regime: dict[str, dict[Point, list[str]]]) -> Table:
    sections = [
        Section(
            results.regime_title(regime),
            [
                (title, [Entry(f"{1000 * point.size:.0f}"), Entry(f"{point.score:.1f}")])
                for point, titles in places.items()
                for title in titles
            ],
        )
        for regime, places in by_regime.items()
    ]
    caption = "Average score x 100, and adapter parameters in use, mean over training runs."
    return Table(caption, ["parameters", "average score"], sections)
