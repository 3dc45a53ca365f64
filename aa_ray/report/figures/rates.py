"""Scores against the adapters' learning rate, for all training runs, with the chance level.

A run "takes off" if its score is above chance by more than three standard errors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aa_ray.report import statistics
from aa_ray.report.claims_table import cell_title
from aa_ray.report.drawing import (
    BLUE,
    INK,
    MOST_HEIGHT,
    PAGE,
    PAPER,
    RULE,
    SOFT,
    VERMILION,
    Drawing,
    dot,
    empty_figure,
    label_bottom,
    legend_below,
    numbered,
    page_width,
    project_style,
    superscript,
)
from aa_ray.report.ladders import Ladder, Step, test_ladders, tuning_ladders
from aa_ray.report.results import Results
from aa_ray.report.tables import DASH, Entry, Section, Table

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Pictures side by side. Inches: height of a picture, and the space for axis titles and legend.
COLUMNS, PICTURE_HEIGHT, AROUND = 5, 1.35, 0.7
# Positions in decades: start and end of a step's dots, which must not overlap, and its mean.
DOTS, MEAN = (-0.2, 0.06), 0.14
# Extra space below and above the shown range, as a share of it; the numbers are above.
BELOW, ABOVE = 0.08, 0.26


def learning_rates(results: Results) -> list[Drawing]:
    """Test score against the adapters' rate, per method and cell, for a sweep over rates."""
    return draw("learning-rates", test_ladders(results), "test score")


def tuning_rates(results: Results) -> list[Drawing]:
    """Development score against the rate, per method and cell, for the tuning seeds."""
    return draw("tuning-rates", tuning_ladders(results), "development score")


def draw(name: str, ladders: Sequence[Ladder], score: str) -> list[Drawing]:
    """A picture for each method in each cell; pictures of a cell share the range of scores.

    A dot is a training run. It is filled if the run takes off. Black: the mean with its 95 % t
    interval; means of adjacent rates are joined, except over a gap. Dashed: chance. Numbers: runs
    that take off.

    Args:
        ladders: by cell, then by method; those without rows are left out.
        score: name of the score, for the axis.
    """
    blocks = [list(group) for _, group in itertools.groupby(ladders, lambda ladder: ladder.key)]
    blocks = [kept for block in blocks if (kept := [ld for ld in block if not ld.empty])]
    most = math.floor((MOST_HEIGHT - AROUND) / PICTURE_HEIGHT)
    pages: list[list[list[Ladder]]] = []
    for block in blocks:
        if not pages or _lines([*pages[-1], block]) > most:
            pages.append([])
        pages[-1].append(block)
    missing = list(_missing(ladders))
    names = numbered(name, len(pages))
    return [
        _page(of_page, page, score, missing if of_page == name else [])
        for of_page, page in zip(names, pages, strict=False)
    ]


def _lines(blocks: Iterable[Sequence[Ladder]]) -> int:
    """Number of lines of pictures that these cells need."""
    return sum(math.ceil(len(block) / COLUMNS) for block in blocks)


def _missing(ladders: Iterable[Ladder]) -> Iterator[str]:
    for ladder in ladders:
        title = f"{ladder.title} {cell_title(*ladder.key)}"
        if ladder.empty:
            yield title
            continue
        for step in ladder.steps:
            if len(step.runs) < step.expected:
                yield f"{title} at {step.rate:g}: {len(step.runs)} of {step.expected} seeds"


def _page(name: str, blocks: Sequence[Sequence[Ladder]], score: str, missing: list[str]) -> Drawing:
    columns = min(COLUMNS, max(map(len, blocks)))
    lines = _lines(blocks)
    sizes = {len(step.runs) for block in blocks for ld in block for step in ld.steps if step.runs}
    with project_style():
        width = page_width(0.5 + 1.25 * columns)
        figure = empty_figure((width, AROUND + PICTURE_HEIGHT * lines))
        axes = figure.subplots(lines, columns, squeeze=False)
        places = iter(axes)
        bottom: dict[int, Axes] = {}  # the last picture of each column
        for block in blocks:
            for chunk in itertools.zip_longest(*[iter(block)] * columns):
                for k, (ax, ladder) in enumerate(zip(next(places), chunk, strict=True)):
                    if ladder is None:
                        ax.set_axis_off()
                    else:
                        _picture(ax, ladder, _range(block), first=k == 0, of=len(sizes) > 1)
                        bottom[k] = ax
        label_bottom(list(bottom.values()), columns, "learning rate")
        figure.supylabel(f"{score} x 100", fontsize=7)
        legend_below(figure, _legend(blocks, sizes), 5 if width == PAGE else 2)
    return Drawing(name, figure, missing, table(blocks, score))


def _range(block: Sequence[Ladder]) -> tuple[float, float]:
    """The lowest and the highest value of a cell's pictures, with room for the numbers."""
    values = [s for ladder in block for step in ladder.steps for s in step.scores]
    values += [ladder.chance for ladder in block if ladder.chance is not None]
    low, high = min(values), max(values)
    room = max(high - low, 2.0)
    return low - BELOW * room, high + ABOVE * room


def _picture(ax: Axes, ladder: Ladder, limits: tuple[float, float], first: bool, of: bool) -> None:
    """Draw one method in one cell; ``of``: whether counts also give the number of runs."""
    ax.set_xscale("log")
    ax.set_ylim(limits)
    rates = [step.rate for step in ladder.steps]
    ax.set_xlim(rates[0] / 1.9, rates[-1] * 2.4)
    if ladder.chance is not None:
        ax.axhline(ladder.chance, color=SOFT, linewidth=0.8, linestyle="--", zorder=1)
    means = [statistics.mean(step.scores) if step.runs else math.nan for step in ladder.steps]
    ax.plot(
        [r * 10**MEAN for r in rates], means, color=RULE, linewidth=0.9, zorder=1
    )  # NaN interrupts the line
    for step, mean in zip(ladder.steps, means, strict=True):
        _step(ax, step, mean, step.rate == ladder.best, of)
    ax.set_title(f"{superscript(ladder.title)}, {cell_title(*ladder.key)}", fontsize=6.5, pad=3)
    ax.tick_params(labelleft=first, labelsize=6)
    ax.minorticks_off()
    decades = [rate for rate in rates if math.isclose(math.log10(rate) % 1, 0, abs_tol=1e-9)]
    ax.set_xticks(decades or rates, [f"{rate:g}" for rate in decades or rates])
    ax.set_xticks([rate for rate in rates if rate not in decades], [], minor=True)
    ax.locator_params(axis="y", nbins=4)


def _step(ax: Axes, step: Step, mean: float, best: bool, of: bool) -> None:
    """Draw the runs at one rate: dots side by side, mean and interval, how many take off."""
    if not step.runs:
        return
    at = step.rate * 10 ** np.linspace(*DOTS, len(step.runs) + 2)[1:-1]
    for off, face in ((True, BLUE), (False, PAPER), (None, RULE)):
        dots = [(x, run.score) for x, run in zip(at, step.runs, strict=True)
                if run.took_off is off]  # fmt: skip
        if dots:
            ax.plot(*zip(*dots, strict=True), "o", markersize=2.2, color=SOFT if off is None
                    else BLUE, markerfacecolor=face, markeredgewidth=0.6, zorder=2)  # fmt: skip
    _mean(ax, step.rate * 10**MEAN, mean, statistics.half_interval(step.scores))
    if best:
        ax.annotate("", (step.rate, 0), (step.rate, 0.12), xycoords=ax.get_xaxis_transform(),
                    arrowprops={"arrowstyle": "-|>", "color": VERMILION, "linewidth": 1,
                                "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    if step.took_off is not None:
        text = f"{step.took_off}/{len(step.runs)}" if of else f"{step.took_off}"
        ax.text(step.rate, 0.99, text, transform=ax.get_xaxis_transform(), ha="center", va="top",
                fontsize=5.5)  # fmt: skip


def _mean(ax: Axes, at: float, mean: float, half: float) -> None:
    """Draw the mean and its interval, cut off at numbers and axis; arrows mark the cuts."""
    bottom, top = ax.get_ylim()
    top -= (top - bottom) * ABOVE / (1 + BELOW + ABOVE) / 2
    if not math.isnan(half):
        low, high = max(mean - half, bottom), min(mean + half, top)
        ax.plot([at] * 2, [low, high], color=INK, linewidth=0.8, zorder=3)
        for arrow, end, beyond in (("v", bottom, low == bottom), ("^", top, high == top)):
            if beyond:
                ax.plot(at, end, arrow, color=INK, markersize=2.4, clip_on=False, zorder=3)
    ax.plot(at, mean, "_", color=INK, markersize=5, markeredgewidth=1.1, zorder=3)


def _legend(blocks: Sequence[Sequence[Ladder]], sizes: set[int]) -> list[Artist]:
    """The legend's marks for these pictures."""
    from matplotlib.lines import Line2D

    ladders = [ladder for block in blocks for ladder in block]
    kinds = {run.took_off for ladder in ladders for step in ladder.steps for run in step.runs}
    of = f", of {next(iter(sizes))}" if len(sizes) == 1 else ""
    handles: list[Artist] = []
    if True in kinds:
        handles.append(dot(f"takes off (numbers{of})", BLUE, size=2.6))
    if False in kinds:
        handles.append(dot("at chance", BLUE, face=PAPER, size=2.6))
    if None in kinds:
        handles.append(dot("chance not known", SOFT, face=RULE, size=2.6))
    handles.append(Line2D([], [], color=INK, linewidth=0.8, marker="_", markersize=6,
                          label="mean, 95 % interval"))  # fmt: skip
    if any(ladder.chance is not None for ladder in ladders):
        handles.append(Line2D([], [], color=SOFT, linestyle="--", linewidth=0.8, label="chance"))
    if any(ladder.best is not None for ladder in ladders):
        handles.append(dot("chosen", VERMILION, "v"))
    return handles


def table(blocks: Sequence[Sequence[Ladder]], score: str) -> Table:
    """The numbers behind the figure: mean, interval, and runs that take off, per rate."""
    rates = sorted({step.rate for block in blocks for ld in block for step in ld.steps})
    sections = [
        Section(cell_title(*block[0].key), [(ld.title, _entries(ld, rates)) for ld in block])
        for block in blocks
    ]
    caption = (
        f"Mean {score} x 100 by learning rate of the adapters, with 95 % t intervals over seeds. "
        "In brackets: number of training runs that take off (end above chance)."
    )
    return Table(caption, [f"{rate:g}" for rate in rates] + ["chance"], sections)


def _entries(ladder: Ladder, rates: Sequence[float]) -> list[Entry]:
    by_rate = {step.rate: step for step in ladder.steps}
    entries = [_entry(by_rate[rate]) if rate in by_rate else Entry(DASH) for rate in rates]
    chance = ladder.chance
    return [*entries, Entry(DASH) if chance is None else Entry(f"{chance:.1f}", mean=chance)]


def _entry(step: Step) -> Entry:
    if not step.runs:
        return Entry(DASH)
    mean, half = statistics.mean(step.scores), statistics.half_interval(step.scores)
    text = f"{mean:.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}")
    if step.took_off is not None:
        text += f" ({step.took_off} of {len(step.runs)})"
    return Entry(text, mean=mean, seeds=len(step.runs))
