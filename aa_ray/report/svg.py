"""Converts a matplotlib figure to SVG for use inside an HTML page.

It removes the parts of a standalone file: XML header, metadata, and a style sheet that would affect
the whole page. It adds what a page needs: a label for screen readers, ids that are unique on the
page, and colours from the page's style sheet, so that a figure is readable in light and dark mode.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree  # nosec B405

from aa_ray.report.drawing import STYLE

if TYPE_CHECKING:  # the function that saves imports it, so that --help need not wait for it
    from matplotlib.figure import Figure

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

# Colours of the figures -> the page's variables; other colours are readable in both modes.
COLOURS = {
    "#000000": "var(--ink)",  # axes, text and the seventh series
    "#b0b0b0": "var(--rule)",  # grid
    "#e0e0e0": "var(--shade)",  # distributions
    "#737373": "var(--soft)",  # initial functions
    "#0072b2": "var(--blue)",
    "#ffffff": "var(--page)",  # the inside of hollow marks
}
_GEOMETRY = ("d", "x", "y", "width", "height", "transform")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")


def inline(figure: Figure, name: str, label: str) -> str:
    """The figure as one ``<svg>`` element.

    Args:
        figure: a figure drawn with the project's style.
        name: name of the figure, unique on the page; prefix of its ids.
        label: description for readers who cannot see it.
    """
    import matplotlib as mpl
    from matplotlib import style

    stream = io.BytesIO()
    with style.context(STYLE), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True)
    root = ElementTree.fromstring(stream.getvalue())  # nosec B314
    for child in list(root):
        if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
            root.remove(child)
    for element in root.iter():
        _adapt(element, name)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', ElementTree.tostring(root, "unicode")))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    root.attrib.pop("version", None)
    # In CSS pixels, a quarter larger than in print.
    root.attrib |= {"width": f"{width * 5 / 3:.0f}", "height": f"{height * 5 / 3:.0f}"}
    # Matplotlib omits a black fill, since it is SVG's default.
    root.attrib |= {"role": "img", "aria-label": label, "fill": "var(--ink)"}
    return ElementTree.tostring(root, "unicode")


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Adapt one element to the page: no namespaces and spaces, unique ids, the page's colours."""
    element.tag = element.tag.removeprefix(_SVG)
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    href = element.attrib.pop(f"{_XLINK}href", None)
    if href is not None:
        element.set("href", f"#{name}-{href[1:]}" if href.startswith("#") else href)
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "clip-path":
            element.set(key, value.replace("url(#", f"url(#{name}-"))
        elif key == "style":
            for colour, variable in COLOURS.items():
                value = value.replace(colour, variable)
            element.set(key, re.sub(r"(?:; )?font-family: [^;]+|: ", _tightened, value))
        elif key in _GEOMETRY:
            element.set(key, " ".join(_LONG_NUMBER.sub(_rounded, value).split()))


def _rounded(match: re.Match[str]) -> str:
    """The number with two decimals: 0.01 points is finer than any screen or printer."""
    return f"{float(match.group()):.2f}".rstrip("0").rstrip(".")


def _tightened(match: re.Match[str]) -> str:
    """The style without font family, which the page sets once for all figures."""
    return ":" if match.group() == ": " else ""
