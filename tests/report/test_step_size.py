"""aa_ray.report.step_size on synthetic rows with known rates and verdicts."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import METHODS, STEP_SIZE, Method
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.report import step_size
from aa_ray.report.results import Line, Results
from aa_ray.report.step_size import ladder, variant
from aa_ray.study.grid import Cell
from aa_ray.study.resolve import Resolver
from tests.report.test_paper_tables import made_up
from tests.report.test_verdicts import made_effect
from tests.study.test_grid import make_study


def study() -> Any:
    return step_size.with_ladder(make_study(methods=STEP_SIZE, seeds=(42, 92, 111)))


def results(gain: Callable[[str, float, float], float]) -> Results:
    """Return scores of 0.5 + gain(method, adapter rate, rational rate) + a little noise."""
    rows = made_up(study())
    trials = {trial.id: trial for trial in Resolver(study(), rows).trials.values()}
    rng = np.random.default_rng(1)  # with this seed no interval misses its effect by chance
    for row in rows:
        trial = trials[row["trial_id"]]
        value = 0.5 + gain(row["method"], trial.learning_rate, trial.rational_learning_rate)
        row["test_metric"] = value + rng.normal(0, 0.001)
        row["dev_metric"] = value
    return Results(study(), rows)


def test_trials_per_method_are_what_the_script_says() -> None:
    trials = Resolver(study(), made_up(study())).trials
    per_method: Counter[str] = Counter()
    for method in STEP_SIZE:
        cells = [Cell(method, "cola", "100", 92, variant(rates).name) for rates in ladder()]
        per_method[method] = len({trials[cell].id for cell in cells})
    assert per_method == {"baseline": 5, "rational-only": 15, "aa": 25, "aa-focused-sim": 15,
                          "baseline-last-n": 5}  # fmt: skip
    assert RELEASED_RATES in ladder() and len(ladder()) == 25


def test_n_is_the_same_at_every_step_of_the_ladder() -> None:
    trials = Resolver(study(), made_up(study())).trials
    cells = [Cell("aa-focused-sim", "cola", "100", 42, variant(rates).name) for rates in ladder()]
    assert {trials[cell].layers for cell in cells} == {(4,)}


def step_size_explains(method: str, adapter: float, rational: float) -> float:
    """Return the gain in a world in which step size explains the advantage.

    All methods reach the same score with 3e-3; at the released rate rationals are ahead.
    """
    reached = 0.2 if adapter == 3e-3 else 0.0
    return reached or (0.1 if method in ("aa-focused-sim", "aa", "rational-only") else 0.0)


def architecture_explains(method: str, adapter: float, rational: float) -> float:
    return step_size_explains(method, adapter, rational) + 0.1 * (method == "aa-focused-sim")


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (step_size_explains, "step size: the advantage is gone"),
        (architecture_explains, "architecture: the advantage stays"),
        (lambda method, adapter, rational: 0.0, "open: no significant advantage"),
    ],
)
def test_verdicts(gain: Callable[[str, float, float], float], expected: str) -> None:
    table = step_size.table(results(gain))
    assert f"Low-data-100: {expected}" in " ".join(table.caption.split())


def test_rates_are_chosen_on_development_sets_and_shown_where_a_method_has_them() -> None:
    found = results(step_size_explains)
    for method in STEP_SIZE:
        rates = step_size.best_rates(found, Line("", method), "100")
        assert rates is not None and rates.adapter == 3e-3
    [section] = step_size.table(found).sections
    lines = {title: [entry.text for entry in entries] for title, entries in section.lines}
    assert lines["Baseline"][2] == "0.003" and lines["Baseline"][1] == "–"
    assert lines["AA-focused^sim"][2].startswith("0.003 / ")
    assert lines["AA"][2].count("/") == 2
    difference = float(lines["AA-focused^sim"][1].split()[0])
    assert difference == pytest.approx(10, abs=0.5)


def test_an_incomplete_ladder_is_open() -> None:
    table = step_size.table(Results(study(), []))
    assert "open: the sweep over rates is not complete" in table.caption
    assert "–" in table.render("text")


@pytest.mark.parametrize(
    ("released", "chosen", "expected"),
    [
        ((1.0, 3.0), (1.0, 3.0), "architecture"),
        ((1.0, 3.0), (-3.0, 1.0), "step size"),
        ((1.0, 3.0), (-1.0, 9.0), "open: not enough data"),
        ((-1.0, 3.0), (1.0, 3.0), "open: no significant advantage"),
        ((math.nan, math.nan), (1.0, 3.0), "open: no significant advantage"),
    ],
)
def test_verdict_rule(
    released: tuple[float, float], chosen: tuple[float, float], expected: str
) -> None:
    effects = [made_effect(*bounds) for bounds in (released, chosen)]
    assert step_size.verdict(*effects).startswith(expected)


def test_a_method_is_shown_the_rates_that_it_has_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everywhere = METHODS["baseline"].layers
    for name, activation, switched in (("plain", "gelu", False), ("switched", "gelu", True)):
        method = Method(name, name.capitalize(), everywhere, activation, switched)
        monkeypatch.setitem(METHODS, name, method)
    wider = step_size.with_ladder(make_study(methods=("baseline", "plain", "switched")))
    rows = [row | {"dev_metric": 0.5} for row in made_up(wider)]
    [section] = step_size.table(Results(wider, rows)).sections
    rates = {title: entries[2].text for title, entries in section.lines}
    assert rates["Plain"] == "0.0001" and rates["Switched"] == "0.0001 / 0.05"
