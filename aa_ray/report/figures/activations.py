"""The activations that ``aa`` learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aa_ray.core.architectures import AA
from aa_ray.data.tasks import TASKS
from aa_ray.report.activations import activation
from aa_ray.report.drawing import (
    BLUE,
    MOST_HEIGHT,
    RULE,
    SHADE,
    SOFT,
    Drawing,
    empty_figure,
    page_width,
    project_style,
)
from aa_ray.report.results import Line, Results
from aa_ray.study.grid import Cell

# The functions that draw import matplotlib, and those that read import pyarrow, so that --help of a
# study with figures need not wait for them.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from aa_ray.store.rows import Row
    from aa_ray.store.schema import HistogramRecord

# Maximum number of small multiples side by side.
MOST_COLUMNS = 6

AA_LINE = Line("", AA)

# The share of inputs over which a curve is drawn; the few others can be very far away.
SHOWN_INPUTS = 0.98


def rationals(results: Results, regime: str) -> list[Drawing]:
    """The activation that ``aa`` learned in each layer, per task, with the first seed.

    Solid: at the best epoch; dashed: the initial function; grey area: the distribution of the
    inputs. Layers that were not selected are marked. A curve covers the middle 98 % of its inputs;
    an arrow marks an end with further inputs beyond it. With up to 6 layers all tasks share a
    figure, one line each; a deeper backbone has a figure per task. Paper, Figure 3.
    """
    seed = results.study.seeds[0]
    missing, rows = [], {}
    for task, by_seed in results.rows(AA_LINE, regime).items():
        cell = Cell(AA, task, regime, seed)
        if seed not in by_seed:
            missing.append(str(cell))
            continue
        rows[task] = by_seed[seed]
        if rows[task]["input_histograms"] is None:
            missing.append(f"{cell}: its inputs")
    num_layers = results.study.backbone.num_layers
    if num_layers <= MOST_COLUMNS:
        places = {(task, n): (i, n) for i, task in enumerate(rows) for n in range(num_layers)}
        return [_small_multiples(f"rationals-{regime}", rows, places, missing)] if rows else []
    drawings = []
    for task, row in rows.items():
        places = {(task, n): divmod(n, MOST_COLUMNS) for n in range(num_layers)}
        name = f"rationals-{regime}-{task}"
        drawings.append(_small_multiples(name, {task: row}, places, missing))
    return drawings


def _small_multiples(
    name: str,
    rows: dict[str, Row],
    places: dict[tuple[str, int], tuple[int, int]],
    missing: list[str],
) -> Drawing:
    """A picture for each (task, layer) at its (line, column); a line shares its y axis."""
    lines, columns = (1 + max(place[k] for place in places.values()) for k in (0, 1))
    with project_style():
        height = min(MOST_HEIGHT, 0.4 + 1.0 * lines)
        figure = empty_figure((page_width(1.1 * columns), height))
        axes = figure.subplots(lines, columns, squeeze=False, sharey="row")
        for ax in axes.flat:
            ax.set_axis_off()
        for (task, layer), place in places.items():
            _rational(axes[place], rows[task], layer)
            axes[place].set_title(f"{TASKS[task].title}, layer {layer}")
        figure.supxlabel("input x", fontsize=8)
        figure.supylabel("R(x)", fontsize=8)
    return Drawing(name, figure, missing)


def shown_range(histogram: HistogramRecord | None) -> tuple[float, float]:
    """The range of a curve: the bins with the middle ``SHOWN_INPUTS`` of the inputs."""
    if histogram is None:
        return -3.0, 3.0
    counts = np.cumsum(histogram["counts"])
    edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
    tail = (1 - SHOWN_INPUTS) / 2 * counts[-1]
    first, last = np.searchsorted(counts, [tail, counts[-1] - tail], side="right")
    return float(edges[first]), float(edges[min(last, len(counts) - 1) + 1])


def _rational(ax: Axes, row: Row, layer: int) -> None:
    """One small picture: learned function, initial function, inputs."""
    selected = row["selected_layers"] is None or layer in row["selected_layers"]
    histogram = (row["input_histograms"] or [None] * (layer + 1))[layer]
    low, high = shown_range(histogram)
    x = np.linspace(low, high, 200)
    learned, first = (activation(row, layer, epoch, x) for epoch in (row["best_epoch"], 0))
    if learned is None or first is None:
        return
    ax.set_axis_on()
    if histogram:
        counts = np.array(histogram["counts"])
        edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
        # Scaled to the height of the picture, whatever the range of the curves.
        ax.fill_between(edges, np.append(counts, 0) / max(1, counts.max()), step="post",
                        color=SHADE, linewidth=0, transform=ax.get_xaxis_transform())  # fmt: skip
    ax.plot(x, first, linestyle="--", color=SOFT, linewidth=0.8)
    ax.plot(x, learned, color=BLUE if selected else RULE)
    ax.set_xlim(low, high)
    for end, beyond in ((0, histogram and low > histogram["low"]),
                        (1, histogram and high < histogram["high"])):  # fmt: skip
        if beyond:  # a few inputs are further out
            ax.plot(end, 0, "<>"[end], transform=ax.transAxes, color=SOFT, markersize=3,
                    clip_on=False)  # fmt: skip
    ax.margins(y=0.15)
    if not selected:
        ax.text(0.5, 0.04, "not selected", transform=ax.transAxes, ha="center", va="bottom",
                fontsize=6)  # fmt: skip
    ax.locator_params(axis="y", nbins=3)
    ax.locator_params(axis="x", nbins=2, steps=[1, 2, 5, 10])  # more numbers would overlap
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
