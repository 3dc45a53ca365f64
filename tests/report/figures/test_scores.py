"""aa_ray.report.figures.scores: every seed is drawn, and every point is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.report.figures import scores
from aa_ray.study.grid import Cell
from tests.report.figures.made_up import marks, results


def test_every_method_has_its_seeds_and_a_mean_with_an_interval() -> None:
    study = results()
    drawing = scores.scores(study)
    [ax] = drawing.figure.axes
    assert len(ax.containers) == 7 and drawing.missing == []
    low, high = ax.get_xlim()
    assert low >= -20 and high <= 105
    for y, line in enumerate(study.lines()):
        seeds = [x for x, at in marks(ax, "o") if at == pytest.approx(y + 0.18)]
        assert sorted(seeds) == pytest.approx(sorted(study.averages(line, "100")))
        means = [x for x, at in marks(ax, "o") if at == pytest.approx(y - 0.08)]
        assert means == [pytest.approx(np.mean(seeds))]


def test_missing_rows_are_named() -> None:
    def skip(cell: Cell) -> bool:
        return cell.task == "cola" and cell.method == "baseline"

    study = results(skip=skip)
    assert "Baseline 100: 0 complete seeds" in scores.scores(study).missing
    assert scores.score_against_parameters(study).missing == ["Baseline 100"]


def test_every_point_is_named_beside_its_picture() -> None:
    study = results(regimes=("100", "500"))
    drawing = scores.score_against_parameters(study)
    for regime, ax in zip(study.study.regimes, drawing.figure.axes, strict=True):
        places = scores.points(study, regime)
        np.testing.assert_allclose(sorted(marks(ax, "o")), sorted(places))
        names = sorted(text.get_text() for text in ax.texts)
        assert len(names) == len(places)
    # These methods have the same scores and sizes in these rows.
    same = ["AA-focused^spec", "AA-focused^uni", "AA-focused^sim"]
    assert same in list(scores.points(study, "100").values())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_names_do_not_touch_and_stay_in_order(values: list[float]) -> None:
    moved = scores.apart(sorted(values), 0.1)
    gaps = np.diff(moved)
    assert (gaps >= 0.1 - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(values), abs=1e-9)
    if (np.diff(sorted(values)) >= 0.1).all():
        assert moved == pytest.approx(sorted(values))
