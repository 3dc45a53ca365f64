"""aa_ray.report.figures.rates: one dot per training run, the chance level, gaps, and take-off."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from aa_ray.core.architectures import STEP_SIZE
from aa_ray.report import ladders, statistics
from aa_ray.report.drawing import BLUE, PAPER
from aa_ray.report.figures import rates
from aa_ray.report.ladders import Ladder, Step
from aa_ray.report.paired import Run
from aa_ray.report.results import Results
from aa_ray.report.step_size import ADAPTER_LADDER
from aa_ray.study.grid import Cell
from tests import rows
from tests.report.figures.made_up import marks
from tests.report.test_step_size import results, step_size_explains
from tests.study.test_tuning import run, tuned_study


def ladder(*scores: Sequence[float], chance: float | None = 50.0) -> Ladder:
    """Return a ladder whose runs take off above 60."""
    steps = [
        Step(rate, tuple(Run(score, None if chance is None else score > 60) for score in of_step),
             3)
        for rate, of_step in zip(ADAPTER_LADDER, scores, strict=False)
    ]  # fmt: skip
    return Ladder("Some^3", ("sst2", "500"), tuple(steps), chance)


def drawn(one: Ladder) -> Any:
    [drawing] = rates.draw("rates", [one], "test score")
    return drawing.figure.axes[0]


def dots(ax: Any) -> list[float]:
    return sorted(y for _, y in marks(ax, "o"))


def test_every_run_is_a_dot_none_on_another() -> None:
    scores = [[51.0, 50.0, 74.0], [75.0, 76.0, 77.0]]
    ax = drawn(ladder(*scores))
    assert dots(ax) == sorted(itertools.chain(*scores))
    assert dots(drawn(ladder([51.0, 50.0], scores[1]))) == [50, 51, 75, 76, 77]  # one seed less
    xs = [x for x, _ in marks(ax, "o")]
    assert len(set(xs)) == 6
    faces: Counter[str] = Counter()
    for line in ax.lines:
        if line.get_marker() == "o":
            faces[line.get_markerfacecolor()] += len(line.get_xdata())
    assert faces == {BLUE: 4, PAPER: 2}  # filled marks take off


def test_means_and_intervals_are_those_of_the_runs() -> None:
    scores = [70.0, 71.0, 73.0]
    ax = drawn(ladder(scores, [40.0, 80.0, 60.0]))
    means = [y for _, y in marks(ax, "_")]
    assert means == pytest.approx([np.mean(scores), 60.0])
    [bar] = [line for line in ax.lines if len(line.get_ydata()) == 2
             and line.get_linestyle() == "-" and line.get_ydata()[0] != line.get_ydata()[1]
             and np.mean(line.get_ydata()) == pytest.approx(np.mean(scores))]  # fmt: skip
    half = statistics.half_interval(scores)
    assert list(bar.get_ydata()) == pytest.approx([np.mean(scores) - half, np.mean(scores) + half])


def test_chance_and_the_runs_that_take_off() -> None:
    ax = drawn(ladder([51.0, 50.0, 74.0], [75.0, 76.0, 77.0]))
    [chance] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert list(chance.get_ydata()) == [50.0, 50.0]
    assert [text.get_text() for text in ax.texts] == ["1", "3"]
    uneven = drawn(ladder([51.0, 50.0], [75.0, 76.0, 77.0]))
    assert [text.get_text() for text in uneven.texts] == ["0/2", "3/3"]
    unknown = drawn(ladder([51.0, 50.0, 74.0], chance=None))
    assert not unknown.texts and all(line.get_linestyle() != "--" for line in unknown.lines)


def test_nothing_is_joined_over_a_gap() -> None:
    ax = drawn(ladder([50.0] * 3, [], [70.0] * 3, [71.0] * 3))
    joined = next(line for line in ax.lines if len(line.get_ydata()) == 4)
    assert np.isnan(joined.get_ydata()).tolist() == [False, True, False, False]


def test_missing_runs_are_named() -> None:
    [drawing] = rates.draw("rates", [ladder([50.0] * 3, [70.0] * 2)], "test score")
    assert drawing.missing == ["Some^3 SST-2 500 at 0.0003: 2 of 3 seeds"]
    assert rates.draw("rates", [ladder([], [])], "test score") == []


def test_test_scores_are_those_of_the_rows() -> None:
    study = results(step_size_explains)
    found = ladders.test_ladders(study)
    assert len(found) == len(STEP_SIZE) * 2  # one for each task
    for one in found:
        means = [statistics.mean(step.scores) for step in one.steps]
        assert int(np.argmax(means)) == ADAPTER_LADDER.index(3e-3)
        assert {len(step.runs) for step in one.steps} == {3} and one.chance == pytest.approx(20.0)
    [drawing] = rates.learning_rates(study)
    assert drawing.name == "learning-rates" and drawing.missing == []
    pictures = [ax for ax in drawing.figure.axes if ax.get_title()]
    assert len(pictures) == len(found)
    assert [len(dots(ax)) for ax in pictures] == [15] * len(found)


def test_a_cell_with_many_methods_takes_several_lines() -> None:
    many = [ladder([60.0] * 3, [70.0] * 3) for _ in range(7)]
    [drawing] = rates.draw("rates", many, "test score")
    assert sum(bool(ax.get_title()) for ax in drawing.figure.axes) == 7
    assert len({ax.get_ylim() for ax in drawing.figure.axes if ax.get_title()}) == 1


# Development score of each step of the tuning; the third, at 1e-3, is best.
DEVELOPMENT = (0.5, 0.52, 0.9, 0.7, 0.6, 0.5)


def tuned(test_metric: float = 0.5, without: Sequence[Cell] = ()) -> Results:
    """Return a study of two methods on two tasks with tuned rates."""
    study = tuned_study(methods=("baseline", "aa"))
    _, trials = run(study)
    made = [
        rows.row(
            trial.id,
            **{k: v for k, v in trial.columns.items() if k != "trial_id"},
            method=cell.method,
            dev_metric=DEVELOPMENT[cell.step or 0],
            dev_chance=0.5,
            dev_chance_error=0.01,
            selected_layers=[0] if cell.method == "aa" else None,
            data_fingerprint=f"{cell.task} {cell.regime} {cell.seed}",
            test_metric=test_metric,
            adapter_layers=[0],
        )
        for cell, trial in trials.items()
        if cell not in without
    ]
    return Results(study, made)


def test_the_ladder_of_tuning_has_development_scores_alone() -> None:
    built = ladders.tuning_ladders(tuned())
    assert [one.title for one in built] == ["Baseline", "AA"] * 2
    for one in built:
        assert [len(step.runs) for step in one.steps] == [3] * 6
        for step, score in zip(one.steps, DEVELOPMENT, strict=True):
            assert step.scores == pytest.approx([100 * score] * 3)
        assert [step.took_off for step in one.steps] == [0, 0, 3, 3, 3, 0]
        assert one.chance == pytest.approx(50.0)
    assert ladders.tuning_ladders(tuned(test_metric=0.123)) == built


def test_a_tuning_run_that_is_missing_is_named() -> None:
    cell = Cell("aa", "sst2", "100", 9002, step=1)
    [drawing] = rates.tuning_rates(tuned(without=[cell]))
    assert drawing.missing == ["AA SST-2 100 at 0.0003: 2 of 3 seeds"]


def test_the_rate_that_tuning_chose_is_marked() -> None:
    study = tuned()
    assert {one.best for one in ladders.tuning_ladders(study)} == {1e-3}
    [drawing] = rates.tuning_rates(study)
    assert drawing.name == "tuning-rates"
    for ax in (ax for ax in drawing.figure.axes if ax.get_title()):
        [arrow] = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
        assert arrow.xy[0] == 1e-3  # type: ignore[attr-defined]


def test_without_tuning_there_is_no_such_ladder() -> None:
    assert ladders.tuning_ladders(results(step_size_explains)) == []


def test_the_table_has_means_and_what_takes_off() -> None:
    [drawing] = rates.draw("rates", [ladder([51.0, 50.0, 74.0])], "test score")
    assert drawing.table is not None
    [section] = drawing.table.sections
    [(label, entries)] = section.lines
    assert label == "Some^3" and entries[0].text.startswith("58.3 ± ")
    assert entries[0].text.endswith("(1 of 3)") and entries[-1].text == "50.0"
