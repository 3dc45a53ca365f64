"""A matplotlib figure as SVG for the inside of an HTML page.

What a file of its own needs goes (XML header, metadata, a style sheet that would act on the whole
page); what a page needs comes: a label for screen readers, ids that two figures do not share, and
colours that the page's style sheet decides, so that a figure is readable on light and dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree  # nosec B405

from aa_ray.report.drawing import STYLE

if TYPE_CHECKING:  # imported by the function that saves: --help need not wait for it
    from matplotlib.figure import Figure

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"

# Colours of the figures -> the page's variables; what is not here is readable on both.
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
        figure: drawn with the project's style.
        name: of the figure, unique on the page; its ids begin with it.
        label: what it shows, for those who cannot see it.
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
    # Matplotlib leaves out a fill that is black, as SVG's own is.
    root.attrib |= {"role": "img", "aria-label": label, "fill": "var(--ink)"}
    return ElementTree.tostring(root, "unicode")


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Make one element the page's: no namespaces and spaces, own ids, the page's colours."""
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
    """A hundredth of a point is finer than any screen or printer."""
    return f"{float(match.group()):.2f}".rstrip("0").rstrip(".")


def _tightened(match: re.Match[str]) -> str:
    """The page names the font, once for all figures."""
    return ":" if match.group() == ": " else ""
