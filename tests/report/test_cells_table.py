"""aa_ray.report.cells_table: the numbers of a comparison match its rows."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from aa_ray.core.architectures import SEEDS
from aa_ray.report import cells_table
from aa_ray.report.paired import Run
from aa_ray.report.results import Line, Results
from aa_ray.report.tables import Entry
from tests.report.test_claims import as_in_the_paper, at_chance, results
from tests.study.test_grid import make_study


def lines(world: Results, claim: str) -> dict[str, dict[str, Entry]]:
    """Return label -> column -> entry, for the first comparison of a claim."""
    table = cells_table.table(world)
    section = next(s for s in table.sections if s.heading.startswith(f"{claim} "))
    return {
        label: dict(zip(table.columns, entries, strict=True)) for label, entries in section.lines
    }


def test_cells_and_averages_are_those_of_the_rows() -> None:
    world = results(as_in_the_paper, regimes=("100", "500"))
    found = lines(world, "C8")
    assert list(found) == [
        "average of 4 cells (ahead in at least 4)", "average without sst2", "average without cola",
        "tasks drawn at random", "SST-2 100", "CoLA 100", "SST-2 500", "CoLA 500",
    ]  # fmt: skip
    first, second = (world.rows(Line("", name), "100")["sst2"] for name in ("aa", "switch-only"))
    values = [100 * (first[s]["test_metric"] - second[s]["test_metric"]) for s in SEEDS]
    cell = found["SST-2 100"]
    assert cell["effect"].mean == pytest.approx(np.mean(values))
    for column, level in (("95 % interval", 0.95), ("90 % interval", 0.9)):
        low, high = stats.t.interval(level, 4, np.mean(values), stats.sem(values))
        assert cell[column].text == f"{low:+.2f} to {high:+.2f}"
    low, high = proportion_confint(5, 5, method="wilson")
    assert cell["P(A > B)"].text == f"1.00 ({low:.2f} to {high:.2f})"
    assert cell["A learned"].text == "learned" and cell["A takes off"].text.startswith("1.00 (")
    shares = [found[label]["variance"].mean or 0 for label in list(found)[4:]]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0


def test_cells_at_chance_are_shown_and_left_out_of_the_average() -> None:
    world = results(as_in_the_paper, regimes=("100", "500"), change=at_chance("cola"))
    found = lines(world, "C8")
    assert "average of 2 cells (ahead in at least 2)" in found and "average of all cells" in found
    assert found["CoLA 100"]["A learned"].text == "chance"
    assert found["CoLA 100"]["variance"].text == "–"
    assert found["CoLA 100"]["A takes off"].text.startswith("0.00 (")


def test_older_rows_do_not_tell_what_takes_off() -> None:
    def change(row: dict[str, Any], rng: np.random.Generator) -> None:
        row |= {"chance": None, "chance_error": None, "answers": None, "data_source": "files-0"}

    found = lines(results(as_in_the_paper, change=change), "C8")["SST-2 100"]
    assert found["A learned"].text == "unknown" and found["A takes off"].text == "–"


def test_the_share_that_takes_off() -> None:
    found = cells_table.take_off([Run(1.0, True), Run(0.0, False), Run(1.0, True)])
    assert found is not None and found.value == pytest.approx(2 / 3)
    assert (found.low, found.high) == pytest.approx(proportion_confint(2, 3, method="wilson"))
    assert cells_table.take_off([Run(1.0)]) is None


def test_without_rows_there_are_no_comparisons() -> None:
    assert cells_table.table(Results(make_study(), [])).sections == []
