"""What all figures share: the sizes of a journal's page, the style, and how they are saved."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aa_ray.errors import UsageError
from aa_ray.report.tables import SUPERSCRIPT

# Matplotlib is imported by the functions that draw: --help of a study need not wait for it.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aa_ray.report.tables import Table

# Inches: one and two columns of a usual journal page, and what a caption leaves of its height.
COLUMN, PAGE = 3.3, 6.9
MOST_HEIGHT = 8.8
# The colours that a page in dark replaces by its own; see ``svg``.
INK, PAPER, RULE, SHADE, SOFT = "#000000", "#ffffff", "#b0b0b0", "#e0e0e0", "#737373"
BLUE, VERMILION, AMBER = "#0072b2", "#d55e00", "#e69f00"

# Names of missing things that a line gives before it counts the rest.
MOST_NAMED = 6

STYLE = str(resources.files("aa_ray.report") / "style.mplstyle")


class Drawing(NamedTuple):
    """A figure.

    Attributes:
        name: of its files, without the ending.
        figure: the figure.
        missing: what it could not show, a few words each.
        table: the numbers behind it, for those who cannot see it.
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
            f"--output {folder}: cannot be written to ({error.strerror}); give another folder"
        ) from error
    return paths


def project_style() -> AbstractContextManager[None]:
    """The settings with which every figure is drawn and saved."""
    from matplotlib import style

    return style.context(STYLE)


def empty_figure(size: tuple[float, float]) -> Figure:
    """An empty figure of that width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size)


def page_width(inches: float) -> float:
    """The narrower of a column and a page that holds so much; a page where neither does."""
    return COLUMN if inches <= COLUMN + 1e-9 else PAGE


def numbered(name: str, pages: int) -> list[str]:
    """The names of a figure's pages; the first is that of a figure with one."""
    return [name, *(f"{name}-{page}" for page in range(2, pages + 1))]


def missing_text(missing: list[str]) -> str:
    """What a figure could not show, on one line."""
    rest = len(missing) - MOST_NAMED
    return "; ".join(missing[:MOST_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def dot(label: str, colour: str, marker: str = "o", face: str | None = None,
        size: float = 3.4) -> Artist:  # fmt: skip
    """A mark without a line, for a legend; ``face``: the colour of its inside."""
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
    """The label, and the numbers, below the last picture of each column."""
    for ax in axes[-columns:]:
        ax.set_xlabel(label, fontsize=7)
        ax.tick_params(labelbottom=True)


def superscript(text: str) -> str:
    """Matplotlib's notation for each ``name^mark`` in the text."""

    def raised(match: re.Match[str]) -> str:
        mark = match[1].replace("-", "{-}")  # without the spaces of a difference
        return f"$^{{\\mathrm{{{mark}}}}}$"

    return SUPERSCRIPT.sub(raised, text)
