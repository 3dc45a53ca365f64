"""Draw docs/architecture-light.svg and docs/architecture-dark.svg: python docs/draw_architecture.py

Three panels, from left to right: where an adapter sits in a transformer layer, what is inside an
adaptable adapter, and how AA becomes AA-focused. The equations are those of the released code
(docs/fidelity.md, D1 to D4), which are the defaults of ``aa_ray.core.adapter``.
"""

import argparse
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

HERE = Path(__file__).parent
STYLE = str(files("aa_ray.report") / "style.mplstyle")

WIDTH, HEIGHT = 184, 92  # units of the drawing
INCHES = 0.05  # of one unit
SELECTED = (2, 4, 5)  # layers of the third panel; an illustration, not a result
LAYERS = 6

Fill = tuple[str, str]  # inside, edge


@dataclass(frozen=True)
class Colours:
    """Colours for one background; the names of fills say what they mean."""

    ink: str
    soft: str
    panel: str
    frozen: Fill
    adapter: Fill
    rational: Fill
    switch: Fill


THEMES = {
    "light": Colours(
        ink="#1f2328", soft="#59636e", panel="#c9d1d9",
        frozen=("#eef1f4", "#8c959f"), adapter=("#dcecf7", "#0072b2"),
        rational=("#d6f1e7", "#00875f"), switch=("#fde6d8", "#c65400"),
    ),
    "dark": Colours(
        ink="#e6edf3", soft="#9aa4af", panel="#444c56",
        frozen=("#262d36", "#7d8590"), adapter=("#10334a", "#56b4e9"),
        rational=("#0d3a2d", "#3ccf9f"), switch=("#46270f", "#f29b5c"),
    ),
}  # fmt: skip


class Canvas:
    """Boxes, arrows and text on axes without frame, in units of ``WIDTH`` x ``HEIGHT``."""

    def __init__(self, axes: Axes, colours: Colours) -> None:
        self.axes, self.colours = axes, colours
        axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
        axes.axis("off")

    def text(self, x: float, y: float, words: str, size: float = 8, **options: Any) -> None:
        options = {"ha": "center", "va": "center", "color": self.colours.ink, **options}
        self.axes.text(x, y, words, fontsize=size, **options)

    def title(self, x: float, words: str, below: str) -> None:
        self.text(x, 88.5, words, 9.5, weight="bold")
        self.text(x, 83.8, below, 7.5, color=self.colours.soft)

    def box(
        self, x: float, y: float, width: float, height: float, fill: Fill, words: str = "",
        size: float = 8,
    ) -> None:  # fmt: skip
        """A rounded box around its centre (x, y)."""
        inside, edge = fill
        corner = (x - width / 2, y - height / 2)
        self.axes.add_patch(
            FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=1.3",
                           facecolor=inside, edgecolor=edge, linewidth=1, zorder=2)
        )  # fmt: skip
        self.text(x, y, words, size)

    def line(self, *points: tuple[float, float], end: str = "-|>", colour: str = "") -> None:
        """A line with right angles and an arrowhead; ``end="-"`` leaves the head out."""
        colour = colour or self.colours.ink
        x, y = zip(*points, strict=True)
        self.axes.plot(x, y, color=colour, linewidth=0.9, solid_joinstyle="round", zorder=1)
        if end != "-":
            self.axes.annotate(
                "", points[-1], points[-2], zorder=3,
                arrowprops={"arrowstyle": "-|>,head_length=0.35,head_width=0.16",
                            "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip

    def hop(self, x: float, y: float) -> None:
        """A small arc over a line that is crossed, not joined."""
        angle = np.linspace(np.pi, 0, 20)
        self.axes.plot(x + 1.5 * np.cos(angle), y + 1.5 * np.sin(angle), linewidth=0.9,
                       color=self.colours.ink)  # fmt: skip

    def curve(
        self, x: float, y: float, width: float, height: float, linewidth: float = 1.5
    ) -> None:
        """A learned rational, around (x, y)."""
        points = np.linspace(-3, 3, 60)
        numerator = 0.03 + 0.55 * points + 0.42 * points**2 + 0.06 * points**3
        denominator = 1 + np.abs(0.1 * points) + 0.3 * points**2
        values = numerator / denominator
        rise = (values - values.min()) / np.ptp(values) - 0.5
        self.axes.plot(x + points * width / 6, y + height * rise, linewidth=linewidth,
                       color=self.colours.rational[1], zorder=3)  # fmt: skip

    def plus(self, x: float, y: float) -> None:
        self.axes.add_patch(
            Circle((x, y), 1.9, facecolor="none", edgecolor=self.colours.ink, linewidth=0.9)
        )
        self.axes.plot([x - 1.1, x + 1.1], [y, y], color=self.colours.ink, linewidth=0.9)
        self.axes.plot([x, x], [y - 1.1, y + 1.1], color=self.colours.ink, linewidth=0.9)

    def funnel(self, x: float, y: float, below: float, above: float, words: str) -> None:
        """A projection from ``below`` to ``above`` units wide."""
        inside, edge = self.colours.adapter
        corners = [(x - below / 2, y - 3.2), (x + below / 2, y - 3.2),
                   (x + above / 2, y + 3.2), (x - above / 2, y + 3.2)]  # fmt: skip
        self.axes.add_patch(
            Polygon(corners, facecolor=inside, edgecolor=edge, linewidth=1, zorder=2)
        )
        self.text(x, y, words)


def draw_layer(canvas: Canvas) -> None:
    """Left: the output sub-layer of BERT with an adapter, from the bottom up."""
    colours = canvas.colours
    x = 24.0
    canvas.title(x, "Where", "one layer of a frozen encoder")
    for y, height, fill, words in (
        (16, 7, colours.frozen, "self-attention"),
        (26, 5, colours.frozen, "LN"),
        (38, 7, colours.frozen, "feed-forward"),
        (49, 5, colours.frozen, "LN(h + i)"),
        (61, 8, colours.adapter, "adaptable adapter"),
        (73, 5, colours.frozen, "LN(· + i)"),
    ):
        canvas.box(x, y, 25, height, fill, words)
    for below, above in ((7, 12.5), (19.5, 23.5), (28.5, 34.5), (41.5, 46.5), (51.5, 57),
                         (65, 70.5), (75.5, 80.5)):  # fmt: skip
        canvas.line((x, below), (x, above))
    canvas.line((x, 9.2), (7, 9.2), (7, 26), (11.5, 26))
    canvas.line((x, 31), (7, 31), (7, 49), (11.5, 49))
    canvas.line((7, 49), (7, 73), (11.5, 73))
    canvas.line((x, 44), (41, 44), (41, 61), (36.5, 61))
    canvas.text(x, 3.4, "grey: frozen · colour: trained", 7, color=colours.soft)
    canvas.text(9.4, 33.2, "i", style="italic")
    canvas.text(38.6, 46.2, "h", style="italic")
    canvas.text(26.4, 54.2, "x", style="italic")


def draw_adapter(canvas: Canvas) -> None:
    """Middle: both branches, and the switch that mixes them."""
    colours = canvas.colours
    canvas.title(92, "What", "a bottleneck with a learnable activation, behind a switch")
    frame = FancyBboxPatch((54, 10), 76, 68, boxstyle="round,pad=0,rounding_size=2",
                           facecolor="none", edgecolor=colours.panel, linewidth=1)  # fmt: skip
    canvas.axes.add_patch(frame)
    for y, end in ((57, 10.5), (65, 77.5)):  # the adapter of the left panel, magnified
        canvas.axes.plot([36.5, 54], [y, end], color=colours.panel, linewidth=0.8, dashes=(3, 2))
    _draw_branches(canvas)
    canvas.box(92, 66.5, 70, 17, colours.switch)
    canvas.text(92, 71.8, "Gumbel-softmax switch", weight="bold", color=colours.switch[1])
    mixture = r"$w_{ad}\,(\mathrm{up}(R(\mathrm{down}(x))) + h) \;+\; w_{id}\,(x + h)$"
    weights = r"$w = \mathrm{softmax}((\mathrm{logits} + \mathrm{gumbel})\,/\,\tau)$"
    canvas.text(92, 66.9, mixture, 9)
    canvas.text(59, 61.6, weights, 8.5, ha="left")
    canvas.text(125, 61.6, "test: larger logit", 7, ha="right", color=colours.soft)
    canvas.line((92, 75), (92, 81))


def _draw_branches(canvas: Canvas) -> None:
    """Draw both branches from x and h up to the switch: adapter left, identity right."""
    colours = canvas.colours
    left, middle, right = 70.0, 103.0, 117.0
    canvas.line((left, 5), (left, 17.8))
    canvas.line((left, 13.5), (middle - 1.5, 13.5), end="-")
    canvas.hop(middle, 13.5)
    canvas.line((middle + 1.5, 13.5), (right, 13.5), (right, 49.6))
    canvas.line((middle, 5), (middle, 51.5), (left + 1.9, 51.5))
    canvas.line((middle, 51.5), (right - 1.9, 51.5))
    canvas.text(left + 2.6, 6.6, "x", style="italic")
    canvas.text(middle + 2.6, 6.6, "h", style="italic")
    canvas.text(right + 3, 31, "identity", rotation="vertical", color=colours.soft)
    canvas.funnel(left, 21, 24, 12, "down")
    canvas.line((left, 24.2), (left, 28.2))
    _draw_rational(canvas, left, 33.2)
    canvas.line((left, 38.2), (left, 42.2))
    canvas.funnel(left, 45.4, 12, 24, "up")
    canvas.line((left, 48.6), (left, 49.6), end="-")
    for x in (left, right):
        canvas.plus(x, 51.5)
        canvas.line((x, 53.4), (x, 58))


def _draw_rational(canvas: Canvas, x: float, y: float) -> None:
    """The activation: its box with a curve, and its equation beside it."""
    colours = canvas.colours
    canvas.box(x, y, 13, 10, colours.rational)
    canvas.curve(x, y, 10.2, 5.6)
    canvas.text(x + 8, y + 4.2, "rational R", weight="bold", ha="left",
                color=colours.rational[1])  # fmt: skip
    equation = r"$\frac{a_0 + a_1 x + \dots + a_5 x^5}{1 + |b_1 x| + \dots + |b_4 x^4|}$"
    canvas.text(x + 8, y - 1.6, equation, 10.5, ha="left")


def draw_focused(canvas: Canvas) -> None:
    """Right: the switches of a trained AA decide where AA-focused has adapters."""
    colours = canvas.colours
    canvas.title(158.5, "Then", "keep the selected layers only")
    for x, title in ((146.5, "AA"), (171.5, "AA-focused")):
        canvas.text(x, 76.5, title, 8.5, weight="bold")
        for layer in range(LAYERS):
            y = 18 + 10 * layer
            if layer:
                canvas.line((x, y - 6.5), (x, y - 3.5))
            canvas.box(x, y, 19, 7, colours.frozen)
            if title == "AA":
                _draw_switched(canvas, x, y, selected=layer in SELECTED)
            elif layer in SELECTED:
                _draw_small(canvas, x, y, colours.adapter)
    canvas.line((156.5, 43), (161.5, 43))
    canvas.text(146.5, 9.6, "a switch in every layer", 7, color=colours.soft)
    canvas.text(171.5, 9.6, "rationals, no switches", 7, color=colours.soft)


def _draw_switched(canvas: Canvas, x: float, y: float, selected: bool) -> None:
    """An adapter and its switch, on or off, in a layer around (x, y)."""
    colours = canvas.colours
    edge = colours.switch[1]
    _draw_small(canvas, x - 2.8, y, colours.adapter if selected else ("none", colours.adapter[1]))
    canvas.box(x + 5.8, y, 4.8, 2.8, colours.switch if selected else ("none", edge))
    knob = (x + (6.9 if selected else 4.7), y)
    inside = edge if selected else "none"
    canvas.axes.add_patch(
        Circle(knob, 0.9, facecolor=inside, edgecolor=edge, linewidth=0.8, zorder=4)
    )


def _draw_small(canvas: Canvas, x: float, y: float, fill: Fill) -> None:
    canvas.box(x, y, 10, 4.4, fill)
    canvas.curve(x, y, 6, 2.2, linewidth=1.0)


def draw(theme: str, path: Path) -> None:
    """Write the drawing for a ``light`` or a ``dark`` background to an SVG file.

    Text is drawn as outlines, so the picture looks the same where the font is missing.
    """
    settings: Any = {
        "figure.constrained_layout.use": False,
        "mathtext.fontset": "dejavusans",
        "svg.fonttype": "path",
        "svg.hashsalt": theme,
    }
    with style.context(STYLE), mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH * INCHES, HEIGHT * INCHES))
        canvas = Canvas(figure.add_axes((0, 0, 1, 1)), THEMES[theme])
        draw_layer(canvas)
        draw_adapter(canvas)
        draw_focused(canvas)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(path, format=path.suffix[1:], transparent=True, metadata=metadata)


def main() -> None:
    """Draw both variants into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: docs)")
    folder = parser.parse_args().output
    for theme in THEMES:
        draw(theme, folder / f"architecture-{theme}.svg")


if __name__ == "__main__":
    main()
