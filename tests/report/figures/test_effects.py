"""aa_ray.report.figures.effects: marks and intervals match the differences."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from aa_ray.core.architectures import SEEDS
from aa_ray.report.drawing import BLUE, PAPER, SHADE, VERMILION
from aa_ray.report.figures import effects
from aa_ray.report.figures.effects import Mark, Panel
from aa_ray.report.results import Line, Results
from aa_ray.report.statistics import Effect
from tests.report.test_claims import as_in_the_paper, at_chance, results
from tests.report.test_contrasts import ACTIVATION, DEPTH, study


def panel(panels: list[Panel], start: str) -> Panel:
    return next(panel for panel in panels if panel.title.startswith(start))


def of_cell(shown: Panel, task: str) -> Mark:
    return next(mark for mark in shown.marks if mark.key == (task, "100"))


def test_a_cell_is_the_mean_over_all_of_its_seeds() -> None:
    world = results(as_in_the_paper)
    mark = of_cell(panel(effects.claim_panels({"": world}), "C8"), "sst2")
    first, second = (world.rows(Line("", name), "100")["sst2"] for name in ("aa", "switch-only"))
    values = [100 * (first[s]["test_metric"] - second[s]["test_metric"]) for s in SEEDS]
    low, high = stats.t.interval(0.95, len(SEEDS) - 1, np.mean(values), stats.sem(values))
    assert mark.effect.mean == pytest.approx(np.mean(values))
    assert (mark.effect.low, mark.effect.high) == pytest.approx((low, high))
    fewer = of_cell(panel(effects.claim_panels({"": results(as_in_the_paper, seeds=SEEDS[:-1])}),
                          "C8"), "sst2")  # fmt: skip
    assert fewer.effect.pairs == mark.effect.pairs - 1


def test_contrasts_have_a_line_for_each_cell_and_the_average() -> None:
    panels = effects.contrast_panels({"released": study(), "tuned": study()})
    assert [shown.title for shown in panels][:2] == [ACTIVATION, DEPTH]
    assert panels[-1].title == "AA minus Baseline, released minus tuned"
    labels = [mark.label for mark in panels[0].marks if mark.policy == "tuned"]
    assert labels == ["SST-2 100", "CoLA 100", "average"]
    means = [m.effect.mean for m in panels[0].marks if m.policy == "tuned"]
    assert means[2] == pytest.approx(np.mean(means[:2]))


def places(ax: Any, marker: str) -> list[tuple[float, str, str]]:
    """Return (mean, colour, fill) of each mark, from top to bottom."""
    lines = [line for line in ax.lines if line.get_marker() == marker]
    ordered = sorted(lines, key=lambda line: line.get_ydata()[0])
    return [(float(line.get_xdata()[0]), line.get_color(), line.get_markerfacecolor())
            for line in ordered]  # fmt: skip


def test_marks_are_at_the_means_hollow_where_nothing_is_learned() -> None:
    world = results(as_in_the_paper, change=at_chance("cola"))
    panels = effects.claim_panels({"": world})
    drawings = effects.claim_effects({"": world})
    axes = [ax for drawing in drawings for ax in drawing.figure.axes if ax.axison]
    for shown, ax in zip(panels, axes, strict=True):
        means = [mark.effect.mean for mark in shown.marks]
        assert [x for x, _, _ in places(ax, "o")] == pytest.approx(means)
        assert [face for _, _, face in places(ax, "o")][:2] == [BLUE, PAPER]


def test_policies_stand_side_by_side_in_their_own_colours() -> None:
    [drawing] = effects.contrast_effects({"released": study(), "tuned": study()})
    ax = drawing.figure.axes[0]
    assert {colour for _, colour, _ in places(ax, "o")} == {BLUE}
    assert {colour for _, colour, _ in places(ax, "s")} == {VERMILION}
    heights = [np.asarray(line.get_ydata())[0] for marker in "os" for line in ax.lines
               if line.get_marker() == marker]  # fmt: skip
    assert len(set(heights)) == 6
    names = [text.get_text() for text in drawing.figure.legends[0].texts]
    assert names[:3] == ["released", "tuned", "released minus tuned"]


@pytest.mark.parametrize("margin", [2.0, 3.5])
def test_the_band_is_the_margin(margin: float) -> None:
    from matplotlib.colors import to_hex

    [drawing] = effects.contrast_effects({"": study()}, margin)
    for ax in (ax for ax in drawing.figure.axes if ax.axison):
        [band] = ax.patches
        assert to_hex(band.get_facecolor()) == SHADE
        box = band.get_extents().transformed(ax.transData.inverted())
        assert (box.x0, box.x1) == pytest.approx((-margin, margin))
    assert f"margin: ±{margin:g} points" in [t.get_text() for t in drawing.figure.legends[0].texts]
    assert drawing.table is not None and f"margin is {margin:g} points" in drawing.table.caption


def test_intervals_beyond_the_axis_end_in_arrows() -> None:
    mark = Mark(("sst2", "100"), "", Effect(1.0, 3, 10.0, 2.0), learned=True)  # -42 to 44
    [drawing] = effects.forest("some", [Panel("One", (mark,))], [""], margin=2.0)
    ax = drawing.figure.axes[0]
    assert ax.get_xlim() == (-8.0, 8.0)
    assert [places(ax, arrow)[0][0] for arrow in "<>"] == [-8.0, 8.0]
    assert places(ax, "o")[0][0] == 1.0


def test_without_an_interval_there_is_a_mark_alone() -> None:
    mark = Mark(("sst2", "100"), "", Effect(1.0, 1), learned=True)
    [drawing] = effects.forest("some", [Panel("One", (mark,))], [""], margin=2.0)
    ax = drawing.figure.axes[0]
    assert places(ax, "o") == [(1.0, BLUE, BLUE)] and not places(ax, "<") + places(ax, ">")


def test_without_rows_there_is_no_figure() -> None:
    empty = Results(study().study, [])
    assert effects.contrast_effects({"": empty}) == effects.claim_effects({"": empty}) == []
