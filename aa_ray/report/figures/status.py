"""A map of what each method has learned in each cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aa_ray.core import architectures
from aa_ray.core.architectures import Selection
from aa_ray.data import tasks
from aa_ray.report.claims_table import cell_title
from aa_ray.report.drawing import (
    AMBER,
    BLUE,
    INK,
    MOST_HEIGHT,
    PAGE,
    PAPER,
    RULE,
    SHADE,
    Drawing,
    empty_figure,
    legend_below,
    page_width,
    project_style,
    superscript,
)
from aa_ray.report.learned import State
from aa_ray.report.results import Results
from aa_ray.report.tables import DASH, Entry, Section, Table

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# State -> letter, background, colour of the letter. From dark to light, also in greyscale.
MARKS: Mapping[State | None, tuple[str, str, str]] = {
    State.LEARNED: ("L", BLUE, PAPER),
    State.ONE_CLASS: ("1", AMBER, "#1a1a1a"),
    State.CHANCE: ("C", SHADE, INK),
    State.UNKNOWN: ("?", PAPER, INK),
    None: ("", PAPER, INK),
}
WORDS: Mapping[State | None, str] = {
    State.LEARNED: "L  learned",
    State.ONE_CLASS: "1  one class",
    State.CHANCE: "C  chance",
    State.UNKNOWN: "?  not known",
    None: "no rows",
}

# Inches: minimum and maximum size of a square; names of methods; space above and below.
SMALLEST, LARGEST, NAMES, ABOVE, BELOW = 0.145, 0.24, 1.15, 0.9, 0.35

# (Task, regime) -> state; None without rows.
States = Mapping[tuple[str, str], State | None]


class Row(NamedTuple):
    """A line of the map; the same in studies with different N, which only the title shows."""

    method: str
    depth: Selection | None


def states(results: Results) -> dict[Row, States]:
    """The state of each line in each of the study's cells; lines without rows are left out."""
    study = results.study
    by_row: dict[Row, States] = {}
    for line in results.lines():
        rows = {regime: results.rows(line, regime) for regime in study.regimes}
        of_line = {
            (task, regime): results.state(line, task, regime) if rows[regime][task] else None
            for regime, task in itertools.product(study.regimes, study.tasks)
            if (task, regime) not in study.left_out
        }
        if any(state is not None for state in of_line.values()):
            by_row[Row(line.method, line.depth)] = of_line
    return by_row


def row_titles(studies: Iterable[Results]) -> dict[Row, str]:
    """The title of each line; it says N instead of a number if the studies have different ones."""
    titles: dict[Row, set[str]] = {}
    plain: dict[Row, str] = {}
    for results in studies:
        for line in results.lines():
            titles.setdefault(Row(line.method, line.depth), set()).add(line.title)
        for method in results.study.methods:
            for shown in architectures.get(method).lines:
                plain.setdefault(Row(method, shown.depth), shown.title)
    return {
        row: next(iter(several)) if len(several) == 1 else plain[row]
        for row, several in titles.items()
    }


def status_map(policies: Mapping[str, Results]) -> Drawing:
    """Method x cell under each policy: one class, chance, learned, or not known.

    A cell is learned if its mean test score is above chance by more than three standard errors of
    the test set, and its models give more than one answer.

    Args:
        policies: name -> the study's results under it; a single one needs no name.
    """
    shown = {name: states(results) for name, results in policies.items()}
    titles = row_titles(policies.values())
    titles = {row: titles[row] for by_row in shown.values() for row in by_row}
    cells = list(
        dict.fromkeys(cell for by_row in shown.values() for s in by_row.values() for cell in s)
    )
    beside = NAMES + LARGEST * len(cells) * len(shown) <= PAGE
    lines, columns = (1, len(shown)) if beside else (len(shown), 1)
    with project_style():
        width = page_width(NAMES + LARGEST * len(cells) * columns)
        side = min(LARGEST, max(SMALLEST, (width - NAMES) / max(1, len(cells) * columns)))
        height = lines * (ABOVE + side * len(titles)) + BELOW
        figure = empty_figure((width, min(MOST_HEIGHT, height)))
        axes = figure.subplots(lines, columns, squeeze=False, sharey=beside).flat
        for ax, (name, of_policy) in zip(axes, shown.items(), strict=True):
            _map(ax, name, [of_policy.get(row, {}) for row in titles], cells)
            ax.set_yticks(range(len(titles)), [superscript(t) for t in titles.values()])
        legend_below(figure, _legend(shown), 5 if width == PAGE else 3)
    return Drawing("status", figure, _missing(policies, shown), table(shown, titles))


def _map(ax: Axes, name: str, lines: Sequence[States], cells: Sequence[tuple[str, str]]) -> None:
    """Draw the squares of one policy."""
    from matplotlib.patches import Rectangle

    for y, by_cell in enumerate(lines):
        for x, cell in enumerate(cells):
            letter, ground, ink = MARKS[by_cell.get(cell)]
            ax.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ground, edgecolor=PAPER, linewidth=1)
            )
            ax.text(x, y, letter, ha="center", va="center_baseline", fontsize=6, color=ink)
    ax.set_xlim(-0.5, max(0.5, len(cells) - 0.5))
    ax.set_ylim(max(0.5, len(lines) - 0.5), -0.5)
    ax.set_aspect("equal", anchor="W")
    ax.set_xticks(range(len(cells)), [tasks.get(task).title for task, _ in cells], rotation=90)
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    _regimes(ax, cells)
    if name:
        ax.set_title(f"{name} rates", loc="left", pad=46)


def _regimes(ax: Axes, cells: Sequence[tuple[str, str]]) -> None:
    """Draw each regime's name above its columns, and a gap between regimes."""
    regimes = [regime for _, regime in cells]
    for regime in dict.fromkeys(regimes):
        first, count = regimes.index(regime), regimes.count(regime)
        ax.annotate(
            _regime(regime, count),
            (first - 0.5 + count / 2, 1.0),
            (0, 34),
            ha="center",
            fontsize=7,
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            annotation_clip=False,
        )
        if first:
            ax.axvline(first - 0.5, color=RULE, linewidth=0.8)


def _regime(name: str, columns: int) -> str:
    """The regime's name, as long as fits above its columns."""
    if columns < 3:
        return name
    return f"{name} examples" if name.isdigit() else f"{name} data"


def _legend(shown: Mapping[str, Mapping[Row, States]]) -> list[Artist]:
    from matplotlib.patches import Patch

    there = {state for by_row in shown.values() for s in by_row.values() for state in s.values()}
    return [
        Patch(facecolor=MARKS[state][1], edgecolor=RULE, linewidth=0.5, label=words)
        for state, words in WORDS.items()
        if state in there
    ]


def _missing(
    policies: Mapping[str, Results], shown: Mapping[str, Mapping[Row, States]]
) -> list[str]:
    """The lines without any row."""
    return [
        f"{line.title}{f' ({name})' if len(policies) > 1 else ''}"
        for name, results in policies.items()
        for line in results.lines()
        if Row(line.method, line.depth) not in shown[name]
    ]


def table(shown: Mapping[str, Mapping[Row, States]], titles: Mapping[Row, str]) -> Table:
    """The map as a table of words."""
    cells = list(
        dict.fromkeys(cell for by_row in shown.values() for s in by_row.values() for cell in s)
    )
    sections = [
        Section(
            name or "method",
            [
                (titles[row], [_entry(by_cell.get(cell)) for cell in cells])
                for row, by_cell in by_row.items()
            ],
        )
        for name, by_row in shown.items()
    ]
    caption = (
        "What each method has learned. Learned: mean test score above chance by more than three "
        "standard errors of the test set, and more than one answer."
    )
    return Table(caption, [cell_title(*cell) for cell in cells], sections)


def _entry(state: State | None) -> Entry:
    return Entry(DASH) if state is None else Entry(state.value, state=state.value)
