"""Figures from the rows of a study. Each draws what there is and says what is missing."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from aa_ray.core.architectures import AA
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.data.tasks import TASKS
from aa_ray.report import statistics, step_size
from aa_ray.report.activations import activation
from aa_ray.report.drawing import (
    COLUMN,
    MOST_HEIGHT,
    Drawing,
    empty_figure,
    legend_beside,
    page_width,
    project_style,
    superscript,
)
from aa_ray.report.results import Line, Results
from aa_ray.study.grid import Cell

# Matplotlib is imported by the functions that draw, pyarrow by those that read: --help of a study
# with figures need not wait for them.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from aa_ray.store.rows import Row

# The layers that the paper's aa selected for BERT-large on QQP with 100 examples (section 5). Only
# drawn beside what was measured, never used to choose an architecture.
PAPER_LAYERS = {"bert-large-uncased": (2, 6, 10, 12, 14, 15, 16, 18, 19, 20, 21, 22, 23)}

# Small multiples side by side, at most.
MOST_COLUMNS = 6

AA_LINE = Line("", AA)

MARKERS = ("o", "s", "^", "D", "v")


def rationals(results: Results, regime: str) -> list[Drawing]:
    """The activation that ``aa`` learned in each layer, per task, with the first seed.

    Solid: at the best epoch; dashed: the initial function; grey area: the distribution of the
    inputs that it saw; layers that were not selected are marked. Up to 6 layers all tasks share a
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
    """A picture for each (task, layer) at its (line, column)."""
    lines, columns = (1 + max(place[k] for place in places.values()) for k in (0, 1))
    with project_style():
        height = min(MOST_HEIGHT, 0.4 + 1.0 * lines)
        figure = empty_figure((page_width(1.1 * columns), height))
        axes = figure.subplots(lines, columns, squeeze=False)
        for (task, layer), place in places.items():
            ax = axes[place]
            _rational(ax, rows[task], layer)
            ax.set_title(f"{TASKS[task].title}, layer {layer}")
        figure.supxlabel("input x", fontsize=8)
        figure.supylabel("R(x)", fontsize=8)
    return Drawing(name, figure, missing)


def _rational(ax: Axes, row: Row, layer: int) -> None:
    """One small picture: learned function, initial function, inputs."""
    selected = row["selected_layers"] is None or layer in row["selected_layers"]
    histogram = (row["input_histograms"] or [None] * (layer + 1))[layer]
    low, high = (histogram["low"], histogram["high"]) if histogram else (-3.0, 3.0)
    x = np.linspace(low, high, 200)
    learned, first = (activation(row, layer, epoch, x) for epoch in (row["best_epoch"], 0))
    if learned is None or first is None:
        ax.set_axis_off()
        return
    if histogram:
        behind = ax.twinx()
        behind.stairs(histogram["counts"], np.linspace(low, high, 65), fill=True, color="0.88")
        behind.set_axis_off()
        ax.set_zorder(behind.get_zorder() + 1)
        ax.patch.set_visible(False)
    ax.plot(x, first, linestyle="--", color="0.45", linewidth=0.8)
    ax.plot(x, learned, color="C0" if selected else "0.6")
    if not selected:
        ax.margins(y=0.3)  # room for the words below the curve
        ax.text(0.5, 0.04, "not selected", transform=ax.transAxes, ha="center", fontsize=6)
    ax.locator_params(axis="y", nbins=3)
    ax.locator_params(axis="x", nbins=2, steps=[1, 2, 5, 10])  # more numbers would touch
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def layers(results: Results) -> Drawing:
    """How often ``aa`` selected each layer, per task and regime, over the seeds.

    For a backbone whose selection the paper prints, triangles mark its layers.
    """
    study = results.study
    missing = []
    num_layers = study.backbone.num_layers
    with project_style():
        height = 0.7 + 0.22 * len(study.tasks)
        width = page_width(len(study.regimes) * (0.8 + 0.22 * num_layers))
        figure = empty_figure((width, height))
        axes = figure.subplots(1, len(study.regimes), sharey=True, squeeze=False)[0]
        for regime, ax in zip(study.regimes, axes, strict=True):
            shares = np.full((len(study.tasks), num_layers), np.nan)
            for i, (task, by_seed) in enumerate(results.rows(AA_LINE, regime).items()):
                seeds = study.seeds_of(regime)
                missing += [str(Cell(AA, task, regime, s)) for s in seeds if s not in by_seed]
                selections = [row["selected_layers"] or () for row in by_seed.values()]
                if selections:
                    shares[i] = [np.mean([n in s for s in selections]) for n in range(num_layers)]
            image = ax.imshow(shares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
            ax.set_title(results.regime_title(regime))
            ax.set_yticks(range(len(study.tasks)), [TASKS[t].title for t in study.tasks])
            side_by_side = num_layers * len(study.regimes)
            step = max(1, num_layers // 12, math.ceil(side_by_side / 24))
            ax.set_xticks(range(0, num_layers, step))
            ax.set_xlabel("layer")
            for layer in PAPER_LAYERS.get(study.backbone.identity, ()):
                ax.plot(layer, -0.75, marker="v", color="C1", clip_on=False)
        figure.colorbar(image, ax=list(axes), label="share of seeds", shrink=0.9)
    return Drawing("layers", figure, missing)


def scores(results: Results) -> Drawing:
    """Average score per method and regime, with a 95 % t interval over the seeds."""
    study = results.study
    missing = []
    lines = results.lines()
    with project_style():
        width = page_width(1.6 + 1.7 * len(study.regimes))
        figure = empty_figure((width, 0.8 + 0.2 * len(lines)))
        axes = figure.subplots(1, len(study.regimes), sharey=True, squeeze=False)[0]
        for regime, ax in zip(study.regimes, axes, strict=True):
            for i, line in enumerate(lines):
                values = results.averages(line, regime)
                if len(values) < len(study.seeds_of(regime)):
                    missing.append(f"{line.title} {regime}: {len(values)} complete seeds")
                if values:
                    mean, half = statistics.mean(values), statistics.half_interval(values)
                    error = None if np.isnan(half) else [half]
                    ax.errorbar([mean], [i], xerr=error, fmt="o", capsize=2, color=f"C{i % 7}")
            ax.set_yticks(range(len(lines)), [superscript(line.title) for line in lines])
            ax.set_title(results.regime_title(regime))
            ax.set_xlabel("average score x 100")
            ax.grid(axis="x", linewidth=0.3)
            # An interval from two seeds may leave every possible score far behind.
            low, high = ax.get_xlim()
            ax.set_xlim(max(low, -20), min(high, 105))
        axes[0].invert_yaxis()
    return Drawing("scores", figure, missing)


def score_against_parameters(results: Results) -> Drawing:
    """Average score against the parameters of the adapters in use, per method and regime.

    Colours are methods; where there are several regimes, markers tell them apart.
    """
    study = results.study
    missing = []
    regimes = dict(zip(study.regimes, MARKERS, strict=False)) if len(study.regimes) > 1 else {}
    with project_style():
        figure = empty_figure((COLUMN, 3.2 + 0.15 * len(regimes)))
        ax = figure.subplots()
        for i, line in enumerate(results.lines()):
            for regime in study.regimes:
                values = results.averages(line, regime)
                if not values:
                    missing.append(f"{line.title} {regime}")
                    continue
                size = statistics.mean(results.parameters(line, regime))
                label = superscript(line.title) if regime == study.regimes[0] else None
                marker = regimes.get(regime, MARKERS[0])
                ax.plot(
                    size / 1000, statistics.mean(values), marker, color=f"C{i % 7}", label=label
                )
        ax.set_xlabel("adapter parameters in use, thousands")
        ax.set_ylabel("average score x 100")
        for regime, marker in regimes.items():
            ax.plot([], [], marker, color="0.5", label=results.regime_title(regime))
        if ax.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=2)
    return Drawing("score-against-parameters", figure, missing)


def learning_rates(results: Results) -> Drawing:
    """Average score against the adapters' learning rate, per method and regime.

    Rational and switch rates are the released ones; a dotted line marks the released adapter rate.
    """
    study = results.study
    missing = []
    with project_style():
        figure = empty_figure((page_width(1.4 + 1.9 * len(study.regimes)), 2.4))
        axes = figure.subplots(1, len(study.regimes), sharey=True, squeeze=False)[0]
        for regime, ax in zip(study.regimes, axes, strict=True):
            for i, line in enumerate(results.lines()):
                points = []
                for rate in step_size.ADAPTER_LADDER:
                    rates = dataclasses.replace(RELEASED_RATES, adapter=rate)
                    mean = step_size.average(results, step_size.at(line, rates), regime)
                    if mean is None:
                        missing.append(f"{line.title} {regime} at {rate:g}")
                    else:
                        points.append((rate, mean))
                if points:
                    xs, means = zip(*points, strict=True)
                    marker = MARKERS[i % len(MARKERS)]
                    label = superscript(line.title)
                    ax.plot(xs, means, marker=marker, color=f"C{i % 7}", label=label)
            ax.axvline(RELEASED_RATES.adapter, color="0.6", linestyle=":", linewidth=0.8)
            ax.set_xscale("log")
            ax.set_title(results.regime_title(regime))
            ax.set_xlabel("learning rate of the adapters")
        axes[0].set_ylabel("average score x 100")
        legend_beside(axes[-1])
    return Drawing("learning-rates", figure, missing)
