"""aa_ray.report.figures.layers: counts, and the band of random selections."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from aa_ray.core.backbones import Backbone
from aa_ray.report.drawing import PAPER
from aa_ray.report.figures import layers
from aa_ray.report.results import Results
from tests.report.figures.made_up import marks, results
from tests.report.test_claims import as_in_the_paper, at_chance
from tests.report.test_claims import results as with_scores


def varied(selections: list[list[int]]) -> Results:
    """Return results on SST-2 with one seed per selection, from five layers."""

    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        if row["method"] == "aa" and row["seed"] < len(selections):
            row["selected_layers"] = selections[row["seed"]]

    seeds = tuple(range(len(selections)))
    return with_scores(as_in_the_paper, seeds=seeds, tasks=("sst2",), change=change)


def test_every_seed_is_counted() -> None:
    chosen = [[0, 1], [0, 2, 3], [0], [0, 1, 4], [0, 1]]
    [cell] = layers.selected(varied(chosen))
    assert cell.counts == (5, 3, 1, 1, 1) and cell.seeds == 5
    [fewer] = layers.selected(varied(chosen[:4]))  # without the last seed
    assert fewer.counts == (4, 2, 1, 1, 1)
    [drawing] = layers.layers(varied(chosen))
    ax = drawing.figure.axes[0]
    places = sorted(marks(ax, "o") + marks(ax, "D"))
    assert places == [(0, 1.0), (1, 0.6), (2, 0.2), (3, 0.2), (4, 0.2)]
    assert [text.get_text() for text in ax.texts] == ["5", "3", "1", "1", "1"]


def test_the_band_is_binomial_for_sets_of_one_size() -> None:
    [cell] = layers.selected(varied([[0, 1]] * 20))
    low, high = stats.binom.ppf([0.025, 0.975], 20, 2 / 5)
    assert (cell.low, cell.high) == (low, high) and cell.expected == pytest.approx(0.4)
    assert [cell.outside(n) for n in range(5)] == [True] * 5  # the same two are always selected


def test_marks_outside_the_band_differ() -> None:
    [drawing] = layers.layers(varied([[0, 1 + seed % 4] for seed in range(20)]))
    ax = drawing.figure.axes[0]
    assert marks(ax, "D") == [(0, 1.0)] and len(marks(ax, "o")) == 4


def test_sets_where_aa_is_at_chance_are_hollow() -> None:
    study = with_scores(as_in_the_paper, change=at_chance("cola"))
    [drawing] = layers.layers(study)
    faces = {
        ax.get_title(): {line.get_markerfacecolor() for line in ax.lines
                         if line.get_marker() in ("o", "D")}
        for ax in drawing.figure.axes
    }  # fmt: skip
    assert faces["CoLA 100, 5 seeds"] == {PAPER} and PAPER not in faces["SST-2 100, 5 seeds"]


def test_missing_rows_are_named() -> None:
    [drawing] = layers.layers(
        results(skip=lambda cell: cell.task == "cola" and cell.method == "aa")
    )
    assert drawing.missing == ["AA CoLA 100"]
    assert [ax.get_title() for ax in drawing.figure.axes] == ["SST-2 100, 2 seeds"]


def test_some_missing_seeds_are_counted() -> None:
    [drawing] = layers.layers(
        results(skip=lambda c: c.task == "cola" and c.method == "aa" and c.seed == 92)
    )
    assert drawing.missing == ["AA CoLA 100: 1 of 2 seeds"]


def test_the_papers_layers_are_marked_for_bert_large_only() -> None:
    large = Backbone("bert-large-uncased", "bert-large-uncased", 24, 1024)
    marked = [len(marks(layers.layers(results(n, backbone=b))[0].figure.axes[0], "^"))
              for n, b in ((24, large), (5, Backbone("toy", "toy", 5, 32)))]  # fmt: skip
    assert marked == [13, 0]


def test_more_cells_than_a_page_holds_take_several() -> None:
    deep = Backbone("deep", "deep", 24, 32)
    drawings = layers.layers(
        results(24, backbone=deep, regimes=("100", "200", "300", "400", "500", "600", "700",
                                            "800", "900"))
    )  # fmt: skip
    assert [d.name for d in drawings] == ["layers", "layers-2"]
    assert sum(bool(ax.get_title()) for d in drawings for ax in d.figure.axes) == 18


def test_the_table_has_the_counts() -> None:
    [drawing] = layers.layers(results())
    assert drawing.table is not None
    [section] = drawing.table.sections
    lines = {label: [entry.text for entry in entries] for label, entries in section.lines}
    assert lines["SST-2 100, 2 seeds (learned)"][:5] == ["0", "2", "0", "2", "0"]
