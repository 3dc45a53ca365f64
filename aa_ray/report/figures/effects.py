"""Differences between methods, cell by cell: forest plots."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aa_ray.report import contrasts
from aa_ray.report.claims_table import cell_title, interval
from aa_ray.report.comparisons import COMPARISONS, Evidence, Key, compared, evidence
from aa_ray.report.drawing import (
    BLUE,
    INK,
    MOST_HEIGHT,
    PAGE,
    PAPER,
    RULE,
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
    superscript,
)
from aa_ray.report.results import Results
from aa_ray.report.statistics import Effect, stratified_effect
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.report.verdicts import MARGIN

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

AVERAGE = "average"

# Colour and marker of each series: policies first, the contrast across them last.
STYLES = ((BLUE, "o"), (VERMILION, "s"))
ACROSS_STYLE = (INK, "^")

# Pictures side by side. Inches: a line per policy; a title; axis and legend.
COLUMNS, LINE, TITLE, AROUND = 3, 0.085, 0.42, 0.72
# The axis ends at this many margins on either side, unless a mean lies further out.
SPAN = 4.0


@dataclass(frozen=True)
class Mark:
    """One effect with its interval.

    Attributes:
        key: its cell; None for the average.
        policy: its series.
        effect: the difference in points.
        learned: whether it is informative: one of the methods is above chance, or this is not
            known; for the average, whether enough cells are informative.
    """

    key: Key | None
    policy: str
    effect: Effect
    learned: bool

    @property
    def label(self) -> str:
        return AVERAGE if self.key is None else cell_title(*self.key)


@dataclass(frozen=True)
class Panel:
    """One contrast, or comparison of two methods."""

    title: str
    marks: tuple[Mark, ...]


def contrast_panels(policies: Mapping[str, Results]) -> list[Panel]:
    """The contrasts of ``docs/protocol.md`` under each policy, and across the first two."""
    panels = [
        _panel(c.text, {name: contrasts.under(r, c) for name, r in policies.items()})
        for c in contrasts.CONTRASTS
    ]
    for name, shown in contrasts.across(policies).items():
        panels.append(_panel(f"{contrasts.ACROSS.text}, {name}", {name: shown}))
    return [panel for panel in panels if panel.marks]


def claim_panels(policies: Mapping[str, Results]) -> list[Panel]:
    """The comparisons behind the paper's claims, under each policy."""
    panels = [
        _panel(
            f"{c.claim} {c.text}",
            {
                name: evidence(results, c.method, c.other, compared(results, c.regimes))
                for name, results in policies.items()
            },
        )
        for c in COMPARISONS
    ]
    return [panel for panel in panels if panel.marks]


def _panel(title: str, by_policy: Mapping[str, Evidence]) -> Panel:
    marks: list[Mark] = []
    for policy, shown in by_policy.items():
        for key, stratum in shown.strata.items():
            effect = stratified_effect({key: stratum})
            marks.append(Mark(key, policy, effect, key in shown.informative))
        if shown.strata:
            marks.append(Mark(None, policy, shown.effect, shown.enough))
    return Panel(title, tuple(marks))


def contrast_effects(policies: Mapping[str, Results], margin: float = MARGIN) -> list[Drawing]:
    """The contrasts of the protocol as a forest plot; see ``forest``."""
    return forest("effects-contrasts", contrast_panels(policies), list(policies), margin)


def claim_effects(policies: Mapping[str, Results], margin: float = MARGIN) -> list[Drawing]:
    """The comparisons behind the claims as a forest plot; see ``forest``."""
    return forest("effects-claims", claim_panels(policies), list(policies), margin)


def forest(
    name: str, panels: Sequence[Panel], policies: Sequence[str], margin: float
) -> list[Drawing]:
    """A line for each cell, and the average; 95 % intervals, with the margin as a grey band.

    Hollow: neither method is above chance, so the difference says nothing. The average is over the
    other cells; it is hollow if they are too few for a verdict. An arrow: the interval extends
    beyond the axis.

    Args:
        panels: one picture each, spread over as many pages as needed.
        policies: the order of the series.
    """
    keys = list(dict.fromkeys(m.key for panel in panels for m in panel.marks if m.key))
    height = TITLE + LINE * (len(policies) + 0.6) * (len(keys) + 1)
    lines = max(1, math.floor((MOST_HEIGHT - AROUND) / height))
    limit = _limit(panels, margin)
    pages = [panels[i : i + lines * COLUMNS] for i in range(0, len(panels), lines * COLUMNS)]
    names = numbered(name, len(pages)) if pages else []
    return [
        _page(of_page, shown, keys, policies, (margin, limit, height))
        for of_page, shown in zip(names, pages, strict=True)
    ]


def _limit(panels: Iterable[Panel], margin: float) -> float:
    """The end of the axis: far enough for all informative means."""
    means = [abs(m.effect.mean) for panel in panels for m in panel.marks if m.learned]
    return max([SPAN * margin, *(1.15 * mean for mean in means)])


def _page(
    name: str,
    panels: Sequence[Panel],
    keys: Sequence[Key],
    policies: Sequence[str],
    sizes: tuple[float, float, float],
) -> Drawing:
    """One figure; ``sizes`` are the margin, the end of the axis, and the height of a picture."""
    margin, limit, height = sizes
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    with project_style():
        width = page_width(0.9 + 2.0 * columns)
        figure = empty_figure((width, min(MOST_HEIGHT, AROUND + height * lines)))
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        for ax, panel in zip(axes.flat, panels, strict=False):
            _picture(ax, panel, keys, policies, margin, limit)
        for ax in axes[0]:
            ax.set_ylim(len(keys) + 0.6, -0.6)
            ax.set_xlim(-limit, limit)
        label_bottom(list(axes.flat)[: len(panels)], columns, "difference in points")
        legend_below(figure, _legend(panels, policies, margin), 5 if width == PAGE else 2)
    return Drawing(name, figure, [], table(panels, margin))


def _picture(
    ax: Axes,
    panel: Panel,
    keys: Sequence[Key],
    policies: Sequence[str],
    margin: float,
    limit: float,
) -> None:
    ax.axvspan(-margin, margin, color=SHADE, linewidth=0, zorder=0)
    ax.axvline(0, color=SOFT, linewidth=0.6, zorder=1)
    ax.axhline(len(keys) - 0.5, color=RULE, linewidth=0.6, zorder=1)
    for mark in panel.marks:
        line = len(keys) if mark.key is None else keys.index(mark.key)
        _mark(ax, mark, line + _shift(mark.policy, policies), limit, _style(mark.policy, policies))
    ax.set_title(superscript(textwrap.fill(panel.title, 34)), fontsize=7, loc="left", pad=3)
    labels = [cell_title(*key) for key in keys]
    ax.set_yticks(range(len(keys) + 1), [*labels, AVERAGE])
    ax.tick_params(axis="y", length=0)


def _shift(policy: str, policies: Sequence[str]) -> float:
    """The offset of a series from the middle of its line."""
    if policy not in policies or len(policies) == 1:
        return 0.0
    return 0.44 * (policies.index(policy) / (len(policies) - 1) - 0.5)


def _style(policy: str, policies: Sequence[str]) -> tuple[str, str]:
    return STYLES[policies.index(policy) % 2] if policy in policies else ACROSS_STYLE


def _mark(ax: Axes, mark: Mark, y: float, limit: float, style: tuple[str, str]) -> None:
    """Draw a mean and its interval; an arrow marks where the axis cuts it off."""
    colour, marker = style
    effect, wide = mark.effect, 1.6 if mark.key is None else 0.9
    if effect.bounded:
        low, high = max(effect.low, -limit), min(effect.high, limit)
        if low < high:
            ax.plot([low, high], [y, y], color=colour, linewidth=wide, zorder=2)
    ends = [effect.low, effect.high] if effect.bounded else [effect.mean]
    for arrow, end, beyond in (("<", -limit, min(ends) < -limit), (">", limit, max(ends) > limit)):
        if beyond:
            ax.plot(end, y, arrow, color=colour, markersize=3, clip_on=False, zorder=3)
    if abs(effect.mean) <= limit:
        ax.plot(effect.mean, y, marker, color=colour, markersize=4.2 if mark.key is None else 3.2,
                markerfacecolor=colour if mark.learned else PAPER, markeredgewidth=0.8,
                zorder=4)  # fmt: skip


def _legend(panels: Sequence[Panel], policies: Sequence[str], margin: float) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = dict.fromkeys([*policies, *(m.policy for p in panels for m in p.marks)])
    handles: list[Artist] = []
    for name in names if len(names) > 1 else ():
        colour, marker = _style(name, policies)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=3.2, label=name))
    if any(not mark.learned for panel in panels for mark in panel.marks):
        handles.append(dot("at chance", SOFT, face=PAPER))
    return [*handles, Patch(color=SHADE, label=f"margin: ±{margin:g} points")]


def table(panels: Sequence[Panel], margin: float) -> Table:
    """The numbers behind the figure."""
    sections = [Section(panel.title, list(_lines(panel))) for panel in panels]
    caption = (
        f"Differences in points of score (x 100), with 95 % intervals, paired by seed; the margin "
        f"is {margin:g} points. Learned: one of the methods is above chance there, or this is not "
        "known; for the average, in enough cells for a verdict."
    )
    return Table(caption, ["effect", "95 % interval", "learned"], sections)


def _lines(panel: Panel) -> Iterator[tuple[str, list[Entry]]]:
    several = len({mark.policy for mark in panel.marks}) > 1
    for mark in panel.marks:
        label = f"{mark.label}, {mark.policy}" if several else mark.label
        mean = mark.effect.mean
        yield label, [Entry(f"{mean:+.2f}", mean=mean), Entry(interval(mark.effect)),
                      Entry("yes" if mark.learned else "no")]  # fmt: skip
