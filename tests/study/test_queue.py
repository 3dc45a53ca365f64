"""aa_ray.study.queue: the remaining trials, their order, and their cost."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.study.grid import Cell, Variant
from aa_ray.study.queue import TrialQueue
from aa_ray.trial import Trial
from tests.study.test_grid import finish, make_study


def test_a_queue_goes_on_from_existing_rows() -> None:
    study = make_study()
    first = TrialQueue(study, [])
    rows: list[dict[str, Any]] = []
    done = finish(first, record=rows)
    for cut in (0, 3, len(rows) - 1):
        resumed = TrialQueue(study, rows[:cut])
        assert len(finish(resumed)) == len(done) - cut
        assert resumed.complete
    assert TrialQueue(study, rows).complete


def test_dependents_of_a_failed_trial_are_lost_and_retry_brings_them_back() -> None:
    queue = TrialQueue(make_study(tasks=("cola",), seeds=(42,)), [])
    finish(queue, status="failed")
    assert queue.complete
    counts = queue.counts()
    assert counts == {"failed": 3, "lost": 4}  # aa twice and baseline; four methods wait for aa
    assert {error for _, error in queue.failures()} == {"broken"}
    queue.forget_failures()
    assert queue.counts() == {"runnable": 3, "blocked": 4}


def finished(trial_id: str, cell: Cell, seconds: float) -> dict[str, Any]:
    return {
        "trial_id": trial_id, "method": cell.method, "status": "finished", "task": cell.task,
        "regime": cell.regime, "backbone": "toy", "train_seconds": seconds, "test_seconds": 0.0,
        "selected_layers": (0,) if cell.method == "aa" else None,
    }  # fmt: skip


def test_time_left_from_measured_trials() -> None:
    queue = TrialQueue(make_study(methods=("baseline",), tasks=("cola",), seeds=(1, 2, 3, 4)), [])
    assert queue.seconds_left(2) is None and queue.plan(2, 1) is None
    cell, trial = queue.next()  # type: ignore[misc]
    queue.record(finished(trial.id, cell, 10.0))
    assert queue.seconds_left(2) == pytest.approx(3 * 10 / 2)
    plan = queue.plan(slots=2, fuse=1)
    assert plan is not None and (plan.makespan, plan.busy) == (20.0, 30.0)
    finish(queue)
    assert queue.seconds_left(2) == 0


def test_what_others_wait_for_comes_first_and_then_the_longest() -> None:
    study = make_study(regimes=("100", "full"), tasks=("qqp", "mnli", "cola"), seeds=(42,))
    queue = TrialQueue(study, [])
    order = []
    while (following := queue.next()) is not None:
        order.append(following[0])
    full, low = ([c for c in order if c.regime == r] for r in ("full", "100"))
    assert full[0] == Cell("aa", "mnli", "full", 42)  # the longest path
    assert [c.task for c in full if c.method == "baseline"] == ["mnli", "qqp", "cola"]
    # AA on QQP with 100 examples is short, but full MNLI waits for it.
    assert order.index(Cell("aa", "qqp", "100", 42)) < order.index(
        Cell("baseline", "mnli", "full", 42)
    )
    assert set(low) == {c for c in study.cells if c.regime == "100" and not study.needs(c)}


def test_trials_side_by_side_are_found_whatever_else_is_waiting() -> None:
    queue = TrialQueue(make_study(methods=("baseline",)), [])
    cell, trial = queue.next()  # type: ignore[misc]
    beside, other = queue.next(like=trial)  # type: ignore[misc]
    assert other.fuse_key == trial.fuse_key and beside.task == cell.task and other != trial
    assert queue.next(like=trial) is None  # two seeds
    following = queue.next()
    assert following is not None and following[0].task != cell.task
    assert queue.take(trial) is None  # the trial runs already
    last = queue.take(queue.next()[1])  # type: ignore[index]
    assert last is None and queue.counts() == {"running": 4}


def claimed(cell: Cell, trial: Trial) -> bool:
    return True


@given(st.integers(1, 30), st.one_of(st.none(), st.integers(1, 10)))
def test_groups_train_side_by_side_and_leave_no_slot_idle(size: int, spread: int | None) -> None:
    study = make_study(methods=("baseline", "aa"), tasks=("qqp", "cola"), seeds=(1, 2, 3))
    queue = TrialQueue(study, [])
    started: list[str] = []
    left = {"qqp": 6, "cola": 6}
    while True:
        runnable = queue.counts()["runnable"]
        group = queue.next_group(lambda _: size, spread, claimed)
        if not group:
            break
        limit = size if spread is None else max(1, min(size, math.ceil(runnable / spread)))
        [task] = {trial.task for _, trial in group}
        assert len(group) == min(limit, left[task])
        left[task] -= len(group)
        started += [trial.id for _, trial in group]
    assert len(started) == len(set(started)) == 2 * 2 * 3
    assert queue.counts() == {"running": 12}


def test_a_group_goes_on_without_the_trials_that_others_have() -> None:
    queue = TrialQueue(make_study(methods=("baseline",), tasks=("cola",), seeds=(1, 2, 3)), [])

    def claim(cell: Cell, trial: Trial) -> bool:
        if cell.seed == 1:
            queue.leave(cell)
        elif cell.seed == 2:
            queue.record(finished(trial.id, cell, 1.0))
        return cell.seed == 3

    [(cell, _)] = queue.next_group(lambda _: 3, None, claim)
    assert cell.seed == 3
    assert queue.counts() == {"elsewhere": 1, "finished": 1, "running": 1}
    assert queue.next_group(lambda _: 3, None, claimed) == []
    queue.look_again()
    assert [cell.seed for cell, _ in queue.next_group(lambda _: 3, None, claimed)] == [1]


def test_a_trial_that_trains_the_backbone_is_a_group_of_one() -> None:
    variants = [Variant("", (("empty_selection", "full"),))]
    study = make_study(tasks=("qqp",), methods=("aa-focused-spec",), variants=tuple(variants))
    queue = TrialQueue(study, [])
    cell, trial = queue.next()  # type: ignore[misc]
    queue.record(finished(trial.id, cell, 1.0) | {"selected_layers": ()})
    groups = [queue.next_group(lambda _: 9, None, claimed) for _ in range(3)]
    assert [len(group) for group in groups] == [1, 1, 0]  # two seeds


def test_a_trial_under_two_names_frees_those_that_wait_for_either() -> None:
    variants = (Variant(""), Variant("other", (("switch_skip", "yes"),)))  # without effect
    study = make_study(tasks=("cola",), seeds=(42,), variants=variants)
    queue = TrialQueue(study, [])
    finish(queue)
    assert queue.complete and "blocked" not in queue.counts()
