"""Synthetic studies for the tests of figures."""

from typing import Any

from aa_ray.report.results import Results
from tests.report.test_paper_tables import made_up
from tests.study.test_grid import make_study


def results(
    layers: int = 5, skip: Any = lambda cell: False, histogram: Any = None, **changes: Any
) -> Results:
    """Return synthetic results, by default of two tasks and two seeds.

    ``aa`` has learned R(x) = x everywhere.
    """
    study = make_study(**changes)
    rows = made_up(study, skip)
    histogram = histogram or {"low": -1.0, "high": 2.0, "counts": [1] * 64}
    for row in rows:
        history = [[[1.0, 0, 0, 0, 0, 0]] * layers, [[0.0, 1, 0, 0, 0, 0]] * layers]
        row |= {
            "best_epoch": 1, "numerators": history, "denominators": [[[0.0] * 4] * layers] * 2,
            "input_histograms": [histogram] * layers, "adapter_parameters": 1000 * layers,
        }  # fmt: skip
    return Results(study, rows)


def marks(ax: Any, marker: str) -> list[tuple[float, float]]:
    """Return the positions of all marks of this kind."""
    return [
        (float(x), float(y))
        for line in ax.lines
        if line.get_marker() == marker
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
