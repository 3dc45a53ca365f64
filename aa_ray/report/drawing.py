"""Common parts of all figures: sizes on a journal's page, style, and saving."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aa_ray.errors import UsageError
from aa_ray.report.tables import SUPERSCRIPT

# The functions that draw import matplotlib, so that --help of a study need not wait for it.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aa_ray.report.tables import Table

# Inches: one and two columns of a journal page, and the height that a caption leaves.
COLUMN, PAGE = 3.3, 6.9
MOST_HEIGHT = 8.8
# The colours that the page replaces in dark mode; see ``svg``.
INK, PAPER, RULE, SHADE, SOFT = "#000000", "#ffffff", "#b0b0b0", "#e0e0e0", "#737373"
BLUE, VERMILION, AMBER = "#0072b2", "#d55e00", "#e69f00"

# Number of missing things named before the rest is counted.
MOST_NAMED = 6

STYLE = str(resources.files("aa_ray.report") / "style.mplstyle")


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        name: name of its files, without the extension.
        figure: the figure.
        missing: what it could not show, in a few words each.
        table: the numbers behind it, for readers who cannot see it.
    """

    name: str
    figure: Figure
    missing: list[str]
    table: Table | None = None


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """Write the figure as PDF (vector) and PNG; returns the paths.

    Raises:
        UsageError: nothing can be written there.
    """
    paths = [folder / f"{drawing.name}.{kind}" for kind in ("pdf", "png")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with project_style():
            for path in paths:
                drawing.figure.savefig(path)
    except OSError as error:
        raise UsageError(
            f"--output {folder}: cannot be written to ({error.strerror}); use another folder"
        ) from error
    return paths


def project_style() -> AbstractContextManager[None]:
    """The settings for drawing and saving all figures."""
    from matplotlib import style

    return style.context(STYLE)


def empty_figure(size: tuple[float, float]) -> Figure:
    """An empty figure with this width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size)


def page_width(inches: float) -> float:
    """The width of a column if it is enough, else of a page."""
    return COLUMN if inches <= COLUMN + 1e-9 else PAGE


def numbered(name: str, pages: int) -> list[str]:
    """The names of a figure's pages; the first one is ``name`` itself."""
    return [name, *(f"{name}-{page}" for page in range(2, pages + 1))]


def missing_text(missing: list[str]) -> str:
    """What a figure could not show, in one line."""
    rest = len(missing) - MOST_NAMED
    return "; ".join(missing[:MOST_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def dot(label: str, colour: str, marker: str = "o", face: str | None = None,
        size: float = 3.4) -> Artist:  # fmt: skip
    """A mark without a line, for a legend; ``face`` is its fill colour."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, markersize=size, color=colour, label=label,
                  markerfacecolor=colour if face is None else face)  # fmt: skip


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int | None = None) -> None:
    """A legend of these marks below all axes."""
    if handles:
        figure.legend(
            handles=list(handles), loc="outside lower center", ncols=columns or len(handles)
        )


def label_bottom(axes: Sequence[Axes], columns: int, label: str) -> None:
    """Put label and numbers below the last picture of each column."""
    for ax in axes[-columns:]:
        ax.set_xlabel(label, fontsize=7)
        ax.tick_params(labelbottom=True)


def superscript(text: str) -> str:
    """The text with each ``name^mark`` in matplotlib's notation."""

    def raised(match: re.Match[str]) -> str:
        mark = match[1].replace("-", "{-}")  # no spaces around the minus sign
        return f"$^{{\\mathrm{{{mark}}}}}$"

    return SUPERSCRIPT.sub(raised, text)
