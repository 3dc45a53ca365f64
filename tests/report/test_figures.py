"""aa_ray.report.figures: what is drawn, and what is said to be missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aa_ray.core.backbones import Backbone
from aa_ray.report import figures
from aa_ray.report.drawing import Drawing, save
from aa_ray.report.results import Results
from aa_ray.study.grid import Cell
from tests.report.test_paper_tables import made_up
from tests.study.test_grid import make_study


def results(layers: int = 5, skip: Any = lambda cell: False, **changes: Any) -> Results:
    study = make_study(**changes)
    rows = made_up(study, skip)
    for row in rows:
        history = [[[1.0, 0, 0, 0, 0, 0]] * layers, [[0.0, 1, 0, 0, 0, 0]] * layers]
        histogram = {"low": -1.0, "high": 2.0, "counts": [1] * 64}
        row |= {
            "best_epoch": 1, "numerators": history, "denominators": [[[0.0] * 4] * layers] * 2,
            "input_histograms": [histogram] * layers, "adapter_parameters": 1000 * layers,
        }  # fmt: skip
    return Results(study, rows)


def titles(drawing: Drawing) -> list[str]:
    return [ax.get_title() for ax in drawing.figure.axes if ax.get_title()]


def test_rationals_of_a_shallow_backbone_share_a_figure() -> None:
    [drawing] = figures.rationals(results(), "100")
    assert drawing.missing == []
    assert titles(drawing)[:2] == ["SST-2, layer 0", "SST-2, layer 1"]
    pictures = [ax for ax in drawing.figure.axes if ax.get_title()]
    assert len(pictures) == 10
    first, learned = pictures[0].lines
    x = np.asarray(learned.get_xdata())
    assert (x.min(), x.max()) == (-1.0, 2.0)  # where the inputs were
    np.testing.assert_allclose(np.asarray(learned.get_ydata()), x)  # R(x) = x was learned
    np.testing.assert_allclose(np.asarray(first.get_ydata()), 1.0)
    marked = [any(t.get_text() == "not selected" for t in ax.texts) for ax in pictures]
    assert marked[:5] == [True, False, True, False, True]  # SST-2 selected layers 1 and 3


def test_rationals_of_a_deep_backbone_have_a_figure_per_task() -> None:
    deep = results(layers=12, backbone=Backbone("deep", "deep", 12, 768))
    drawings = figures.rationals(deep, "100")
    assert [d.name for d in drawings] == ["rationals-100-sst2", "rationals-100-cola"]
    assert [len(titles(d)) for d in drawings] == [12, 12]


def test_missing_rows_are_named_and_the_rest_is_drawn() -> None:
    def skip(cell: Cell) -> bool:
        return cell.task == "cola" and cell.method in ("aa", "baseline")

    found = results(skip=skip)
    [drawing] = figures.rationals(found, "100")
    assert drawing.missing == ["aa cola 100 seed 42"] and len(titles(drawing)) == 5
    assert figures.layers(found).missing == ["aa cola 100 seed 42", "aa cola 100 seed 92"]
    assert "Baseline 100: 0 complete seeds" in figures.scores(found).missing
    assert "Baseline 100" in figures.score_against_parameters(found).missing


def test_layer_map_shows_shares_over_seeds() -> None:
    drawing = figures.layers(results())
    image = drawing.figure.axes[0].images[0].get_array()
    assert image is not None
    assert image.tolist() == [[0, 1, 0, 1, 0], [1, 1, 1, 0, 0]]  # SST-2, CoLA


def test_the_papers_layers_are_marked_for_bert_large_only() -> None:
    large = Backbone("bert-large-uncased", "bert-large-uncased", 24, 1024)
    marked = [len(figures.layers(results(layers, backbone=b)).figure.axes[0].lines)
              for layers, b in ((24, large), (5, Backbone("toy", "toy", 5, 32)))]  # fmt: skip
    assert marked == [13, 0]


def test_scores_have_a_point_with_an_interval_per_method() -> None:
    drawing = figures.scores(results())
    [ax] = drawing.figure.axes
    assert len(ax.containers) == 7 and drawing.missing == []
    low, high = ax.get_xlim()
    assert low >= -20 and high <= 105


@pytest.mark.parametrize(
    ("num_layers", "regimes"),
    [(3, ("100",)), (6, ("100", "500")), (24, ("100", "300", "500", "full"))],
)
def test_widths_are_a_journals(num_layers: int, regimes: tuple[str, ...]) -> None:
    backbone = Backbone("some", "some", num_layers, 32)
    found = results(num_layers, backbone=backbone, regimes=regimes)
    drawn = [make(found) for make in (figures.layers, figures.scores, figures.learning_rates,
             figures.score_against_parameters)]  # fmt: skip
    drawn += figures.rationals(found, "100")
    for drawing in drawn:
        width, height = drawing.figure.get_size_inches()
        assert width in (3.3, 6.9) and height <= 8.8, drawing.name


@pytest.mark.parametrize("make", [figures.layers, figures.scores, figures.score_against_parameters])
def test_every_figure_is_saved_as_vector_and_picture(make: Any, tmp_path: Path) -> None:
    paths = save(make(results(regimes=("100", "300"))), tmp_path / "new")
    assert [path.suffix for path in paths] == [".pdf", ".png"]
    assert paths[0].read_bytes().startswith(b"%PDF") and paths[1].read_bytes()[1:4] == b"PNG"
