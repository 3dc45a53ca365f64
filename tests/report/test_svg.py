"""aa_ray.report.svg: a figure embedded in a page."""

from xml.etree import ElementTree

import pytest
from matplotlib import style
from matplotlib.figure import Figure

from aa_ray.report import svg
from aa_ray.report.drawing import STYLE


@pytest.fixture(scope="module")
def figure() -> Figure:
    with style.context(STYLE):
        figure = Figure(figsize=(3, 2))
        ax = figure.subplots()
        ax.plot([0, 1], [0.123456789, 1], "o-")
        ax.imshow([[0, 1]])
        ax.set_title("a < b & c")
    return figure


def test_it_is_one_element_that_needs_nothing(figure: Figure) -> None:
    text = svg.inline(figure, "one", 'shows "<x>"')
    root = ElementTree.fromstring(text)
    assert root.tag == "svg" and root.get("aria-label") == 'shows "<x>"'
    assert (root.get("viewBox"), root.get("width")) == ("0 0 216 144", "360")
    tags = {element.tag for element in root.iter()}
    assert not tags & {"style", "metadata", "script"} and "text" in tags
    assert "http" not in text and "xmlns" not in text
    assert "a < b & c" in [element.text for element in root.iter("text")]


def test_references_hold_and_differ_between_figures(figure: Figure) -> None:
    found = []
    for name in ("one", "two"):
        root = ElementTree.fromstring(svg.inline(figure, name, ""))
        ids = {element.get("id") for element in root.iter()} - {None}
        links = {e.get("href", "")[1:] for e in root.iter("use")}
        clips = {e.get("clip-path", "")[5:-1] for e in root.iter()} - {""}
        assert ids == links | clips and links and clips
        assert all(str(i).startswith(f"{name}-") for i in ids)
        found.append(ids)
    assert not found[0] & found[1]


def test_colours_are_the_pages(figure: Figure) -> None:
    text = svg.inline(figure, "one", "")
    assert "stroke:var(--ink)" in text and "var(--blue)" in text
    assert not any(colour in text for colour in svg.COLOURS)


def test_it_is_the_same_every_time(figure: Figure) -> None:
    assert svg.inline(figure, "one", "") == svg.inline(figure, "one", "")
