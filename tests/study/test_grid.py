"""aa_ray.study and aa_ray.core.architectures: the grid, and the order of dependent trials."""

from typing import Any

import pytest

from aa_ray.core import architectures
from aa_ray.core.architectures import METHODS, RATIONAL, TABLE2
from aa_ray.core.backbones import RELEASED_RATES, Backbone
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.study.grid import Cell, Study, Variant
from aa_ray.study.queue import TrialQueue
from aa_ray.study.resolve import selection

LAYERS = 5


def make_study(**changes: Any) -> Study:
    settings: dict[str, Any] = {
        "methods": TABLE2,
        "tasks": ("sst2", "cola"),
        "regimes": ("100",),
        "seeds": (42, 92),
        "backbone": Backbone("toy", "toy", LAYERS, 32),
        "source": Source("embedded"),
        "rates": RELEASED_RATES,
        "epochs": 20,
    }
    return Study(**(settings | changes))


def finish(
    queue: TrialQueue,
    selected: Any = (1, 3),
    status: str = "finished",
    record: list[dict[str, Any]] | None = None,
) -> list[Cell]:
    """Run all trials that become runnable; ``selected``, or its result, is what ``aa`` selects."""
    order = []
    rows = [] if record is None else record
    while (following := queue.next()) is not None:
        cell, trial = following
        order.append(cell)
        layers = selected(cell) if callable(selected) else selected
        rows.append(
            {
                "trial_id": trial.id,
                "status": status,
                "error": "broken" if status == "failed" else None,
                "selected_layers": list(layers) if trial.switched else None,
                "task": cell.task,
                "regime": cell.regime,
                "backbone": trial.backbone,
                "train_seconds": 8.0,
                "test_seconds": 2.0,
            }
        )
        queue.record(rows[-1])
    return order


def test_the_grid_has_every_cell_and_the_dependency_outside_it() -> None:
    study = make_study()
    assert len(study.grid()) == 6 * 2 * 2
    assert set(study.cells) - set(study.grid()) == {Cell("aa", "qqp", "100", 42)}
    assert study.cells[0] == Cell("aa", "qqp", "100", 42)  # most cells wait for this one


def test_full_data_has_the_first_seed_only() -> None:
    study = make_study(regimes=("100", "full"))
    assert {cell.seed for cell in study.grid() if cell.regime == "full"} == {42}
    assert {cell.seed for cell in study.grid() if cell.regime == "100"} == {42, 92}


def test_full_data_can_have_more_seeds() -> None:
    study = make_study(regimes=("100", "full"), seeds=(1, 2, 3), full_seeds=2)
    assert {cell.seed for cell in study.grid() if cell.regime == "full"} == {1, 2}
    assert {cell.seed for cell in study.grid() if cell.regime == "100"} == {1, 2, 3}


def test_cells_that_need_more_examples_than_there_are_are_left_out() -> None:
    study = make_study(regimes=("100", "100000"))
    assert {cell.regime for cell in study.grid()} == {"100"}
    assert set(study.left_out) == {(task, "100000") for task in study.tasks}
    with pytest.raises(UsageError, match="needs 100000 annotated examples, the training data has"):
        make_study(regimes=("100000",)).check_data()


def test_selections_come_from_the_first_seed_whatever_the_seeds() -> None:
    study = make_study(seeds=(92,), methods=("aa-focused-spec",), tasks=("cola",))
    assert set(study.cells) == {
        Cell("aa", "cola", "100", 42),
        Cell("aa-focused-spec", "cola", "100", 92),
    }


@pytest.mark.parametrize("selected", [(1, 3), (), (0, 1, 2, 3, 4), (4,)])
def test_architectures_follow_the_selections(selected: tuple[int, ...]) -> None:
    of_qqp = (0, 4)
    queue = TrialQueue(make_study(), [])
    finish(queue, lambda cell: of_qqp if cell.task == "qqp" else selected)
    every = tuple(range(LAYERS))

    def trial(method: str) -> Any:
        return queue.trial(Cell(method, "cola", "100", 92))

    assert trial("baseline").layers == trial("aa").layers == every
    assert (trial("aa").switched, trial("aa").activation) == (True, RATIONAL)
    assert (trial("baseline").switched, trial("baseline").activation) == (False, "relu")
    assert trial("aa-focused-spec").layers == selected
    assert trial("aa-focused-uni").layers == of_qqp
    assert trial("aa-focused-sim").layers == (3, 4)
    assert not trial("aa-focused-spec").switched
    assert trial("adapter-drop").layers == every
    assert trial("adapter-drop").inference_depths == tuple(sorted({len(selected), 2}))


def test_focused_trials_wait_for_exactly_their_aa_trials() -> None:
    queue = TrialQueue(make_study(), [])
    waiting = {cell for cell in queue.study.cells if queue.trial(cell) is None}
    assert {cell.method for cell in waiting} == set(TABLE2) - {"aa", "baseline"}
    cell, trial = queue.next()  # type: ignore[misc]
    assert cell == Cell("aa", "qqp", "100", 42)
    row = {"trial_id": trial.id, "status": "finished", "selected_layers": [2]}
    queue.record(row)
    resolved = {c.method for c in waiting if queue.trial(c)}
    assert resolved == {"aa-focused-uni", "aa-focused-sim"}


def test_equal_trials_run_once() -> None:
    # On qqp, spec and uni select the same layers; sim's last two layers are the same again.
    queue = TrialQueue(make_study(tasks=("qqp",), seeds=(42,)), [])
    order = finish(queue, selected=(3, 4))
    ids = {queue.trial(cell).id for cell in queue.study.cells}  # type: ignore[union-attr]
    assert len(order) == len(ids) == 4  # aa, baseline, adapter-drop and one focused trial
    assert queue.complete and queue.counts() == {"finished": 4}


def test_without_layers_the_activation_tells_nothing_apart() -> None:
    queue = TrialQueue(make_study(tasks=("qqp",), seeds=(42,)), [])
    finish(queue, selected=())
    cells = [Cell(f"aa-focused-{kind}", "qqp", "100", 42) for kind in ("spec", "uni", "sim")]
    assert len({queue.trial(cell) for cell in cells}) == 1


def test_names_are_refused_with_those_allowed() -> None:
    from aa_ray.errors import UsageError

    with pytest.raises(
        UsageError, match=r"unknown method 'laura' \(allowed: baseline, adapter-drop"
    ):
        architectures.get("laura")
    assert all(method.name == name for name, method in METHODS.items())


def test_a_fixed_n_needs_no_trial_of_qqp() -> None:
    study = make_study(methods=("rational-last-n", "baseline-last-n"), last_n=2)
    assert set(study.cells) == set(study.grid())
    for cell in study.cells:
        assert study.trial(cell).layers == (3, 4)
    drop = make_study(methods=("adapter-drop",), last_n=2)
    cell = drop.grid()[0]
    assert [need.task for need in drop.needs(cell)] == [cell.task]
    assert drop.trial(cell, [(0, 1, 4)]).inference_depths == (2, 3)
    uni = make_study(methods=("aa-focused-uni",), last_n=2)
    assert uni.needs(uni.grid()[0]) == [Cell("aa", "qqp", "100", 42)]


def test_random_layers_are_as_many_as_selected_and_differ_by_seed_and_task() -> None:
    study = make_study(methods=("random-n",), seeds=tuple(range(40)))
    drawn = {cell: study.trial(cell, [(0, 3)]).layers for cell in study.grid()}
    assert {len(layers) for layers in drawn.values()} == {2}
    assert len(set(drawn.values())) == 10  # every pair of five layers
    of_task = {
        task: [layers for cell, layers in drawn.items() if cell.task == task]
        for task in study.tasks
    }
    assert of_task["sst2"] != of_task["cola"]
    assert drawn == {cell: study.trial(cell, [(1, 2)]).layers for cell in study.grid()}


def test_an_aa_trial_at_chance_decides_no_layers() -> None:
    row = {"status": "finished", "selected_layers": [0], "dev_metric": 0.6}
    told = {"dev_chance": 0.5, "dev_chance_error": 0.06}
    assert selection(row, LAYERS) == (0,)  # a row from before these columns
    assert selection(row | told, LAYERS) == (2, 3, 4)
    assert selection(row | told | {"dev_metric": 0.63}, LAYERS) == (0,)


def test_full_fine_tuning_stays_what_it_is_whatever_an_empty_selection_gets() -> None:
    for value in ("classifier", "full"):
        variant = Variant("v", (("empty_selection", value),))
        study = make_study(methods=("full-fine-tuning",), variants=(variant,))
        trials = [study.trial(cell, []) for cell in study.cells]
        assert all(trial.empty_selection == "full" and not trial.layers for trial in trials)
