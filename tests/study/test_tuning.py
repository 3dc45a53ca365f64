"""Tuned rates: equal budgets for all methods, selection on development sets, and waiting trials."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.core import architectures
from aa_ray.core.architectures import AA
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.errors import UsageError
from aa_ray.study.grid import Cell, Study
from aa_ray.study.queue import TrialQueue
from aa_ray.study.resolve import Resolver, one_row, tuned
from aa_ray.study.tuning import BUDGET, SEEDS, Tuning
from aa_ray.trial import Trial
from tests.study.test_grid import make_study

SCORES = st.lists(
    st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=BUDGET, max_size=BUDGET
)


def tuned_study(**changes: Any) -> Study:
    return make_study(**({"tuning": Tuning.with_budget(), "last_n": 2} | changes))


def row(trial: Trial, cell: Cell, **changes: Any) -> dict[str, Any]:
    """Return a finished row; the third setting is the best on the development set."""
    score = 0.9 if cell.step == 2 else 0.7
    return {
        "trial_id": trial.id, "method": cell.method, "status": "finished", "error": None,
        "selected_layers": [1, 3] if cell.method == AA else None, "task": cell.task,
        "regime": cell.regime, "dev_metric": score, "dev_chance": 0.5, "dev_chance_error": 0.05,
        "test_metric": 1 - score, "backbone": "toy", "train_seconds": 1.0, "test_seconds": 0.0,
    } | changes  # fmt: skip


def run(study: Study, **changes: Any) -> tuple[TrialQueue, dict[Cell, Trial]]:
    """Run the study to its end, with one row per trial."""
    queue, ran = TrialQueue(study, []), {}
    while (started := queue.next()) is not None:
        cell, trial = started
        ran[cell] = trial
        queue.record(row(trial, cell, **changes))
    return queue, ran


@given(SCORES)
def test_the_choice_is_the_best_mean_and_says_when_it_is_close(scores: list[list[float]]) -> None:
    tuning = Tuning.with_budget()
    choice = tuning.choose(scores)
    means = [math.fsum(of_setting) / 3 for of_setting in scores]
    k = tuning.settings.index(choice.rates)
    assert means[k] == max(means) and all(mean < means[k] for mean in means[:k])
    assert choice.tied == (means.count(means[k]) > 1)
    assert choice.at_edge == (k in (0, BUDGET - 1))


def test_every_method_has_as_many_settings_and_the_released_one() -> None:
    tuning = Tuning.with_budget()
    assert len(tuning.settings) == BUDGET and RELEASED_RATES in tuning.settings
    adapters = [rates.adapter for rates in tuning.settings]
    assert adapters == sorted(adapters)
    study = tuned_study(methods=("baseline", "aa"))
    for cell in study.grid():
        cells = [need for step in study.tuning_cells(cell) for need in step]
        assert len(cells) == BUDGET * len(SEEDS) == len(set(cells))
        assert not {need.seed for need in cells} & set(study.seeds)


@pytest.mark.parametrize("budget", [0, 1, 100])
def test_a_budget_that_makes_no_sense(budget: int) -> None:
    with pytest.raises(UsageError, match="expected 2 to"):
        Tuning.with_budget(budget)


def test_cells_wait_for_their_tuning_and_get_its_rates() -> None:
    study = tuned_study(methods=("baseline", AA, "aa-focused-spec"), tasks=("sst2",), seeds=(1, 2))
    queue, ran = run(study)
    assert queue.complete and set(ran) == set(study.cells)
    best = study.tuning.settings[2] if study.tuning else None
    for cell, trial in ran.items():
        if cell.step is None:
            assert best is not None and trial.learning_rate == best.adapter
    focused = ran[Cell("aa-focused-spec", "sst2", "100", 1)]
    assert focused.layers == (1, 3)
    # The layers come from AA at its tuned rates, even in the focused method's ladder.
    order = list(ran)
    selecting = Cell(AA, "sst2", "100", architectures.FIRST_SEED)
    ladder = [cell for cell in ran if cell.method == "aa-focused-spec" and cell.step is not None]
    assert min(map(order.index, ladder)) > order.index(selecting)
    assert {ran[cell].layers for cell in ladder} == {(1, 3)}


def test_test_scores_take_no_part() -> None:
    study = tuned_study(methods=("baseline", AA, "random-n"), tasks=("sst2",))
    ids = {trial.id for trial in run(study)[1].values()}
    for score in (0.0, 1.0):
        assert {trial.id for trial in run(study, test_metric=score)[1].values()} == ids


def test_a_failed_setting_is_the_worst_and_a_tuning_that_failed_loses_the_cell() -> None:
    study = tuned_study(methods=("baseline",), tasks=("sst2",), seeds=(1,))
    cell = Cell("baseline", "sst2", "100", 1)
    resolver = Resolver(study)
    for need, trial in list(resolver.trials.items()):
        failed = {"status": "failed", "dev_metric": None} if need.step == 2 else {}
        resolver.add(row(trial, need, **failed))
    choice = tuned(study, cell, resolver.row)
    assert choice is not None and choice.means[2] == -math.inf and choice.tied
    assert resolver.trials[cell].learning_rate == choice.rates.adapter
    lost = TrialQueue(study, [])
    while (started := lost.next()) is not None:
        lost.record(row(started[1], started[0], status="failed", error="NaN", dev_metric=None))
    assert lost.complete and lost.counts()["lost"] == 1


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=BUDGET, max_size=BUDGET))
def test_a_trial_of_two_depths_counts_by_their_mean_whoever_reads_it(
    scores: list[tuple[float, float]],
) -> None:
    """The sweep receives a trial when it ends; a table reads its rows in any order."""
    study = tuned_study(methods=("baseline",), tasks=("sst2",), seeds=(1,))
    steps = list(Resolver(study).trials.items())
    stored = [
        row(trial, need, dev_metric=scores[need.step or 0][depth])
        for depth in (0, 1)
        for need, trial in steps
    ]
    heard = Resolver(study)
    for _, trial in steps:
        heard.add(one_row([each for each in stored if each["trial_id"] == trial.id]))
    cell = Cell("baseline", "sst2", "100", 1)
    choices = [
        tuned(study, cell, resolver.row)
        for resolver in (heard, Resolver(study, stored), Resolver(study, stored[::-1]))
    ]
    assert choices[0] is not None and choices == choices[:1] * 3
    assert choices[0].means == pytest.approx([sum(pair) / 2 for pair in scores])


def test_what_is_lost_takes_all_along_that_waits_for_it() -> None:
    """AA fails at every setting, and three levels wait for it; the sweep must still end."""
    study = tuned_study(methods=(AA, "aa-focused-spec"), tasks=("sst2",), seeds=(1,))
    queue = TrialQueue(study, [])
    while (started := queue.next()) is not None:
        queue.record(row(started[1], started[0], status="failed", error="NaN", dev_metric=None))
    assert queue.complete and queue.counts()["blocked"] == 0


def test_rows_of_an_earlier_run_are_found_through_every_level() -> None:
    study = tuned_study(methods=("baseline", AA, "aa-focused-spec"), tasks=("sst2",), seeds=(1, 2))
    _, ran = run(study)
    rows = [row(trial, cell) for cell, trial in ran.items()]
    assert TrialQueue(study, rows).counts() == {"finished": len({t.id for t in ran.values()})}
    assert TrialQueue(study, reversed(rows)).complete


def test_the_steps_are_trials_like_any_other() -> None:
    """The released setting of a tuning is the same trial as in a study at the released rates."""
    study = tuned_study(methods=("baseline",), tasks=("sst2",))
    released = dataclasses.replace(study, tuning=None, seeds=SEEDS)
    first = {t.id for c, t in run(study)[1].items() if c.step == 0}
    assert {trial.id for trial in run(released)[1].values()} == first
