"""aa_ray.study.forecast: measured times, forecasts from them, and known scheduling bounds."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.study.forecast import Forecast, examples, paths, seconds, simulate
from aa_ray.study.grid import Cell, Study
from tests.study.test_grid import make_study


def row(cell: Cell, taken: float, **changes: Any) -> dict[str, Any]:
    return {
        "status": "finished", "backbone": "toy", "method": cell.method, "task": cell.task,
        "regime": cell.regime, "train_seconds": 0.75 * taken, "test_seconds": 0.25 * taken,
        "array": None,
    } | changes  # fmt: skip


def test_a_member_of_an_array_has_its_share() -> None:
    alone = row(Cell("aa", "cola", "100", 42), 12.0)
    assert seconds(alone) == 12.0
    assert seconds(alone | {"array": ["a", "b", "c"]}) == 4.0


def test_examples_of_a_trial() -> None:
    study = make_study()
    # 20 epochs of 75 examples at 3 passes and 25 development examples, then CoLA's 1043.
    assert examples(study, Cell("aa", "cola", "100", 42)) == 20 * (3 * 75 + 25) + 1043
    assert examples(study, Cell("aa", "cola", "full", 42)) == 20 * 2.5 * 8551 + 1043


def test_the_nearest_measurement_counts() -> None:
    study = make_study()
    forecast = Forecast(study)
    aa, baseline = (Cell(method, "cola", "100", 42) for method in ("aa", "baseline"))
    assert forecast.seconds(aa) is None
    assert forecast.weight(aa) == examples(study, aa)
    forecast.learn(row(aa, 10.0))
    forecast.learn(row(aa._replace(seed=92), 20.0))
    assert forecast.seconds(aa) == 15.0
    assert forecast.seconds(baseline) == 15.0  # same task and regime
    larger = baseline._replace(regime="500")
    ratio = examples(study, larger) / examples(study, baseline)
    assert forecast.seconds(larger) == pytest.approx(15.0 * ratio)
    forecast.learn(row(baseline, 5.0))
    assert forecast.seconds(baseline) == 5.0 and forecast.seconds(aa) == 15.0


def test_a_study_that_continues_on_a_slower_device() -> None:
    """Times from the first device are scaled by what both have measured."""
    study = make_study()
    forecast = Forecast(study)
    aa, baseline = (Cell(method, "cola", "100", 42) for method in ("aa", "baseline"))
    other = Cell("aa", "sst2", "100", 42)
    for cell, taken in ((aa, 1.0), (aa, 3.0), (baseline, 5.0), (other, 4.0)):
        forecast.learn(row(cell, taken, device="fast"))
    assert forecast.seconds(aa) == 2.0
    forecast.learn(row(aa, 20.0, device="slow"), new=True)
    assert forecast.seconds(aa) == 20.0
    assert forecast.seconds(other) == 40.0  # 4 s, and 20 instead of 2
    forecast.learn(row(baseline, 30.0, device="slow"), new=True)
    assert forecast.seconds(other) == pytest.approx(4 * (20 + 30) / (2 + 5))
    forecast.learn(row(other, 3.0, device="fast"), new=True)  # both are in use now
    assert forecast.seconds(other) == 3.5


def test_failures_and_other_backbones_say_nothing() -> None:
    cell = Cell("aa", "cola", "100", 42)
    forecast = Forecast(make_study())
    forecast.learn(row(cell, 10.0, status="failed", train_seconds=None))
    forecast.learn(row(cell, 10.0, backbone="another"))
    assert forecast.seconds(cell) is None


def test_those_that_others_wait_for_have_the_longest_paths() -> None:
    study = make_study()
    found = paths(study, dict.fromkeys(study.cells, 1.0))
    for cell in study.cells:
        waits = any(cell in study.needs(other) for other in study.cells)
        assert found[cell] == (2.0 if waits else 1.0)


STUDY = make_study(tasks=("qqp", "sst2", "cola"))
WEIGHTS = st.lists(st.floats(0.1, 100), min_size=len(STUDY.cells), max_size=len(STUDY.cells)).map(
    lambda values: dict(zip(STUDY.cells, values, strict=True))
)


@given(WEIGHTS, st.integers(1, 40))
def test_grahams_bounds(weight: Mapping[Cell, float], slots: int) -> None:
    """List scheduling takes at least the work or the path, and at most their sum (Graham 1969)."""
    plan = simulate(STUDY, weight, slots)
    assert plan.busy == pytest.approx(sum(weight.values()))
    least = max(plan.busy / slots, plan.path)
    assert least * (1 - 1e-9) <= plan.makespan
    assert plan.makespan <= (plan.busy / slots + plan.path * (1 - 1 / slots)) * (1 + 1e-9)


@given(WEIGHTS)
def test_one_slot_works_without_a_pause(weight: Mapping[Cell, float]) -> None:
    for fuse in (1, 4):
        plan = simulate(STUDY, weight, 1, fuse)
        assert plan.makespan == pytest.approx(sum(weight.values()))


def test_another_order() -> None:
    study = make_study(methods=("baseline",), tasks=("qqp", "sst2", "cola"), seeds=(1,))
    weight = {c: 2.0 if c.task == "cola" else 1.0 for c in study.cells}
    assert simulate(study, weight, slots=2).makespan == 2.0
    shortest = {cell: -seconds for cell, seconds in weight.items()}
    assert simulate(study, weight, slots=2, order=shortest).makespan == 3.0


def test_arrays_are_of_one_task_and_regime() -> None:
    study: Study = make_study(methods=("baseline",), tasks=("qqp", "cola"), seeds=(1, 2, 3))
    weight = {cell: 1.0 if cell.task == "qqp" else 2.0 for cell in study.cells}
    plan = simulate(study, weight, slots=2, fuse=3)
    assert plan.makespan == 6.0 and plan.busy == 9.0  # three CoLA trials beside three QQP trials
    assert simulate(study, weight, slots=6, fuse=1).makespan == 2.0
