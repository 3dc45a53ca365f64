"""The layers that ``aa`` selects, compared with random selections."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aa_ray.report import nulls
from aa_ray.report.claims_table import cell_title
from aa_ray.report.comparisons import AA_LINE
from aa_ray.report.drawing import (
    BLUE,
    INK,
    MOST_HEIGHT,
    PAGE,
    PAPER,
    SHADE,
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
)
from aa_ray.report.learned import State
from aa_ray.report.results import Results
from aa_ray.report.tables import Entry, Section, Table

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# The layers that the paper's aa selected for BERT-large on QQP with 100 examples (section 5). They
# are only drawn for comparison, never used to choose an architecture.
PAPER_LAYERS = {"bert-large-uncased": (2, 6, 10, 12, 14, 15, 16, 18, 19, 20, 21, 22, 23)}

# Inches: height of a picture with its title, and the space for axis titles and legend.
PICTURE_HEIGHT, AROUND = 0.98, 0.75
LAYER_WIDTH, LEAST_WIDTH = 0.13, 1.5

LEVEL = 0.95


@dataclass(frozen=True)
class Selected:
    """The number of times that each layer was selected in one cell.

    Attributes:
        task, regime: the cell.
        counts: number of seeds whose ``aa`` selected it, by layer.
        seeds: number of seeds.
        expected: mean share of selected layers.
        low, high: range of counts for a share ``LEVEL`` of random selections of the same sizes.
        state: what ``aa`` has learned there.
    """

    task: str
    regime: str
    counts: tuple[int, ...]
    seeds: int
    expected: float
    low: int
    high: int
    state: State

    @property
    def title(self) -> str:
        return f"{cell_title(self.task, self.regime)}, {self.seeds} seed{'s' * (self.seeds != 1)}"

    def outside(self, layer: int) -> bool:
        """Whether the layer was selected more or less often than by random selections."""
        return not self.low <= self.counts[layer] <= self.high


def selected(results: Results) -> list[Selected]:
    """The cells in which ``aa`` has rows, by task, then by regime."""
    study = results.study
    rows = {regime: results.rows(AA_LINE, regime) for regime in study.regimes}
    cells = itertools.product(study.tasks, study.regimes)
    return [_selected(results, t, r) for t, r in cells if rows[r][t]]


def _selected(results: Results, task: str, regime: str) -> Selected:
    layers = range(results.study.backbone.num_layers)
    rows = results.rows(AA_LINE, regime)[task].values()
    sets = [row["selected_layers"] or () for row in rows]
    sizes = [len(set_) for set_ in sets]
    low, high = nulls.central(nulls.layer_counts(sizes, len(layers)), LEVEL)
    counts = tuple(sum(layer in set_ for set_ in sets) for layer in layers)
    expected = sum(sizes) / len(sizes) / len(layers)
    state = results.state(AA_LINE, task, regime)
    return Selected(task, regime, counts, len(sets), expected, low, high, state)


def layers(results: Results) -> list[Drawing]:
    """The share of seeds whose ``aa`` selected each layer, per task and regime.

    Grey: the range of 95 % of shares if each seed's set were a random one of the same size. This is
    also the null model of C12's test. (A binomial with the mean share of layers is equivalent for
    sets of equal size, and too wide otherwise.) About one layer in twenty is outside by chance
    alone. Hollow: ``aa`` is at chance there, so its switches have learned nothing. For a backbone
    whose selection the paper prints, triangles mark its layers.
    """
    cells = selected(results)
    columns = _columns(results, len(cells))
    on_page = columns * math.floor((MOST_HEIGHT - AROUND) / PICTURE_HEIGHT)
    pages = [cells[i : i + on_page] for i in range(0, len(cells), on_page)] or [[]]
    missing, names = _missing(results), numbered("layers", len(pages))
    return [
        _page(name, page, columns, results, missing if name == names[0] else [])
        for name, page in zip(names, pages, strict=True)
    ]


def _missing(results: Results) -> list[str]:
    """The cells in which seeds are missing, and how many."""
    study = results.study
    missing = []
    for regime in study.regimes:
        seeds = study.seeds_of(regime)
        for task, by_seed in results.rows(AA_LINE, regime).items():
            count = sum(seed not in by_seed for seed in seeds)
            if count and (task, regime) not in study.left_out:
                some = "" if count == len(seeds) else f": {count} of {len(seeds)} seeds"
                missing.append(f"AA {cell_title(task, regime)}{some}")
    return missing


def _columns(results: Results, cells: int) -> int:
    """Number of pictures side by side: a column for each regime if they fit."""
    width = max(LEAST_WIDTH, 0.3 + LAYER_WIDTH * results.study.backbone.num_layers)
    fitting = max(1, math.floor(PAGE / width))
    regimes = len(results.study.regimes)
    return regimes if 1 < regimes <= fitting else max(1, min(fitting, cells))


def _page(
    name: str, cells: Sequence[Selected], columns: int, results: Results, missing: list[str]
) -> Drawing:
    backbone = results.study.backbone
    lines = max(1, math.ceil(len(cells) / columns))
    with project_style():
        width = page_width(columns * max(LEAST_WIDTH, 0.3 + LAYER_WIDTH * backbone.num_layers))
        figure = empty_figure((width, AROUND + PICTURE_HEIGHT * lines))
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        axes = list(grid.flat)
        for ax in axes[len(cells) :]:
            ax.set_axis_off()
        paper = PAPER_LAYERS.get(backbone.identity, ())
        for ax, cell in zip(axes, cells, strict=False):
            _picture(ax, cell, paper)
        label_bottom(axes[: len(cells)], columns, "layer")
        figure.supylabel("share of seeds", fontsize=7)
        legend_below(figure, _legend(cells, bool(paper)), 2 if width < PAGE else 5)
    return Drawing(name, figure, missing, table(cells))


def _picture(ax: Axes, cell: Selected, paper: Sequence[int]) -> None:
    """Draw one cell: the band, and a dot with its count for each layer."""
    num_layers = len(cell.counts)
    ax.axhspan(cell.low / cell.seeds, cell.high / cell.seeds, color=SHADE, linewidth=0, zorder=0)
    ax.axhline(cell.expected, color=SOFT, linewidth=0.6, linestyle="--", zorder=1)
    for layer, count in enumerate(cell.counts):
        marker, colour = ("D", VERMILION) if cell.outside(layer) else ("o", BLUE)
        face = colour if cell.state.informative else PAPER
        share = count / cell.seeds
        ax.plot(layer, share, marker, color=colour, markerfacecolor=face, markersize=3.5, zorder=3)
        ax.annotate(str(count), (layer, share), (0, 3.2), textcoords="offset points", ha="center",
                    fontsize=5.5)  # fmt: skip
    for layer in paper:
        ax.plot(layer, -0.12, marker="^", color=INK, markersize=2.5, clip_on=False)
    ax.set_title(cell.title, fontsize=7, pad=3)
    ax.set_xlim(-0.6, num_layers - 0.4)
    ax.set_ylim(-0.12, 1.25)
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_xticks(range(0, num_layers, max(1, math.ceil(num_layers / 12))))


def _legend(cells: Sequence[Selected], paper: bool) -> list[Artist]:
    """The legend's marks for these cells."""
    from matplotlib.patches import Patch

    layers = range(len(cells[0].counts) if cells else 0)
    outside = {cell.outside(layer) for cell in cells for layer in layers}
    handles: list[Artist] = [Patch(color=SHADE, label="95 % of random sets")]
    if False in outside:
        handles.append(dot("inside", BLUE))
    if True in outside:
        handles.append(dot("outside", VERMILION, "D"))
    if not all(cell.state.informative for cell in cells):
        handles.append(dot("AA at chance", SOFT, face=PAPER))
    if paper:
        handles.append(dot("the paper's layers (QQP)", INK, "^"))
    return handles if cells else []


def table(cells: Sequence[Selected]) -> Table:
    """The numbers behind the figure; ``*`` marks layers outside the band."""
    columns = [f"layer {n}" for n in range(len(cells[0].counts))] if cells else []
    lines = [
        (
            f"{cell.title} ({cell.state.value})",
            [
                *[Entry(f"{c}{'*' * cell.outside(n)}", mean=c) for n, c in enumerate(cell.counts)],
                Entry(f"{cell.low} to {cell.high}"),
            ],
        )
        for cell in cells
    ]
    caption = (
        "Layers that AA selected: number of seeds, and the range of 95 % of these numbers for "
        "random sets of the same sizes. *: outside that range."
    )
    return Table(caption, [*columns, "random sets"], [Section("cell", lines)])
