"""All figures fit a journal's page, draw every seed, and are saved as vector and bitmap."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from aa_ray.core.backbones import Backbone
from aa_ray.report import drawing
from aa_ray.report.drawing import Drawing, save
from aa_ray.report.figures import activations, effects, layers, rates, scores, status
from aa_ray.report.results import Results
from tests.report.figures.made_up import results

Make = Callable[[Results], Sequence[Drawing]]
FIGURES: dict[str, Make] = {
    "layers": layers.layers,
    "scores": lambda r: [scores.scores(r)],
    "parameters": lambda r: [scores.score_against_parameters(r)],
    "rates": lambda r: rates.draw("rates", rates.test_ladders(r), "test score"),
    "status": lambda r: [status.status_map({"": r})],
    "status of two": lambda r: [status.status_map({"released": r, "tuned": r})],
    "claims": lambda r: effects.claim_effects({"released": r, "tuned": r}),
    "contrasts": lambda r: effects.contrast_effects({"released": r}),
    "activations": lambda r: activations.rationals(r, "100"),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize(
    ("num_layers", "regimes"),
    [(3, ("100",)), (6, ("100", "500")), (24, ("100", "300", "500", "full"))],
)
def test_sizes_are_a_journals(name: str, num_layers: int, regimes: tuple[str, ...]) -> None:
    study = results(num_layers, backbone=Backbone("some", "some", num_layers, 32), regimes=regimes)
    drawings = FIGURES[name](study)
    assert len({d.name for d in drawings}) == len(drawings)
    for drawn in drawings:
        width, height = drawn.figure.get_size_inches()
        assert width in (3.3, 6.9) and height <= 8.8 + 1e-6, drawn.name


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_saved_as_vector_and_picture(name: str, tmp_path: Path) -> None:
    for drawn in FIGURES[name](results(regimes=("100", "300"))):
        paths = save(drawn, tmp_path / "new")
        assert [path.suffix for path in paths] == [".pdf", ".png"]
        assert paths[0].read_bytes().startswith(b"%PDF") and paths[1].read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off(name: str) -> None:
    for drawn in FIGURES[name](results(regimes=("100", "300"))):
        drawn.figure.draw_without_rendering()
        width, height = drawn.figure.bbox.size
        shown = [ax.get_tightbbox() for ax in drawn.figure.axes if ax.axison]
        for box in [*shown, *(legend.get_window_extent() for legend in drawn.figure.legends)]:
            assert box is not None
            assert box.x0 > -2 and box.x1 < width + 2, drawn.name
            assert box.y0 > -2 and box.y1 < height + 2, drawn.name


def test_what_is_missing_fits_on_a_line() -> None:
    assert drawing.missing_text(["a", "b"]) == "a; b"
    assert drawing.missing_text([str(n) for n in range(30)]) == "0; 1; 2; 3; 4; 5; and 24 more"


def test_marks_are_raised_wherever_they_stand() -> None:
    text = drawing.superscript("AA-focused^sim beats AdapterDrop^N-1 here")
    assert text == r"AA-focused$^{\mathrm{sim}}$ beats AdapterDrop$^{\mathrm{N{-}1}}$ here"
