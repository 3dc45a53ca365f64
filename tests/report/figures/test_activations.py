"""aa_ray.report.figures.activations: the curves match the rows."""

from typing import Any

import numpy as np
import pytest

from aa_ray.core.backbones import Backbone
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import activations
from aa_ray.report.figures.activations import shown_range
from tests.report.figures.made_up import results


def titles(drawing: Drawing) -> list[str]:
    return [ax.get_title() for ax in drawing.figure.axes if ax.get_title()]


def test_rationals_of_a_shallow_backbone_share_a_figure() -> None:
    [drawing] = activations.rationals(results(), "100")
    assert drawing.missing == []
    assert titles(drawing)[:2] == ["SST-2, layer 0", "SST-2, layer 1"]
    pictures = [ax for ax in drawing.figure.axes if ax.get_title()]
    assert len(pictures) == 10
    first, learned = pictures[0].lines
    x = np.asarray(learned.get_xdata())
    assert (x.min(), x.max()) == (-1.0, 2.0)  # the range of the inputs
    np.testing.assert_allclose(np.asarray(learned.get_ydata()), x)  # R(x) = x was learned
    np.testing.assert_allclose(np.asarray(first.get_ydata()), 1.0)
    marked = [any(t.get_text() == "not selected" for t in ax.texts) for ax in pictures]
    assert marked[:5] == [True, False, True, False, True]  # SST-2 selected layers 1 and 3
    assert len({ax.get_ylim() for ax in pictures[:5]}) == 1  # a task's panels share their scale


def test_rationals_of_a_deep_backbone_have_a_figure_per_task() -> None:
    deep = results(layers=12, backbone=Backbone("deep", "deep", 12, 768))
    drawings = activations.rationals(deep, "100")
    assert [d.name for d in drawings] == ["rationals-100-sst2", "rationals-100-cola"]
    assert [len(titles(d)) for d in drawings] == [12, 12]


def test_missing_rows_are_named_and_the_rest_is_drawn() -> None:
    [drawing] = activations.rationals(
        results(skip=lambda cell: cell.task == "cola" and cell.method == "aa"), "100"
    )
    assert drawing.missing == ["aa cola 100 seed 42"] and len(titles(drawing)) == 5


def histogram(counts: list[int]) -> Any:
    return {"low": 0.0, "high": float(len(counts)), "counts": counts}


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([1, 498, 498, 1], (1.0, 3.0)),  # a thousandth on either side
        ([100, 100, 100, 100], (0.0, 4.0)),
        ([0, 0, 5, 0], (2.0, 3.0)),  # the other bins are empty
    ],
)
def test_curves_are_drawn_where_inputs_were(counts: list[int], shown: tuple[float, float]) -> None:
    assert shown_range(histogram(counts)) == shown


def test_a_cut_is_marked() -> None:
    def drawn(counts: list[int]) -> list[str]:
        [drawing] = activations.rationals(results(histogram=histogram(counts)), "100")
        ax = next(ax for ax in drawing.figure.axes if ax.get_title())
        return [str(line.get_marker()) for line in ax.lines if line.get_marker() in ("<", ">")]

    assert drawn([10, 10, 10]) == [] and drawn([1, 990, 990]) == ["<"]
