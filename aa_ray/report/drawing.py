"""What all figures share: the sizes of a journal's page, the style, and how they are saved."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aa_ray.errors import UsageError

# Matplotlib is imported by the functions that draw: --help of a study need not wait for it.
if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: one and two columns of a usual journal page, and what a caption leaves of its height.
COLUMN, PAGE = 3.3, 6.9
MOST_HEIGHT = 8.8
STYLE = str(resources.files("aa_ray.report") / "style.mplstyle")


class Drawing(NamedTuple):
    """A figure, the name of its files, and what it could not show."""

    name: str
    figure: Figure
    missing: list[str]


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


def legend_beside(ax: Axes) -> None:
    """A legend to the right of the axes, where there is anything to explain."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def superscript(title: str) -> str:
    """Matplotlib's notation for ``name^mark``."""
    head, caret, mark = title.partition("^")
    return f"{head}$^{{\\mathrm{{{mark}}}}}$" if caret else title
