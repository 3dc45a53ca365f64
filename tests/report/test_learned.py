"""aa_ray.report.learned: whether a cell has learned, from rows or, for old rows, from labels."""

from typing import Any

import numpy as np
import pytest

from aa_ray.data import tasks
from aa_ray.data.chance import chance
from aa_ray.data.glue import ROWS, Source
from aa_ray.report.learned import Gate, State

EMBEDDED = Source("embedded")


def row(score: float, answers: int | None = 2, level: float | None = 0.5, **more: Any) -> Any:
    columns = {"task": "sst2", "data_source": EMBEDDED.identity("sst2"), "test_metric": score}
    error = None if level is None else 0.01
    return columns | {"chance": level, "chance_error": error, "answers": answers} | more


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        ([], State.UNKNOWN),
        ([row(0.6), row(0.6)], State.LEARNED),
        ([row(0.531)], State.LEARNED),
        ([row(0.529)], State.CHANCE),  # three standard errors are 0.03
        ([row(0.5), row(0.5), row(0.6)], State.LEARNED),  # the mean decides
        ([row(0.5, 1), row(0.5, 1), row(0.6)], State.LEARNED),
        ([row(0.5, 1), row(0.5, 1), row(0.52)], State.ONE_CLASS),
        ([row(0.5, 1), row(0.5, 2)], State.CHANCE),  # there is no majority
        ([row(0.9, None)], State.LEARNED),
        ([row(0.9, 1)], State.ONE_CLASS),  # whatever its score
    ],
)
def test_states(rows: list[Any], state: State) -> None:
    assert Gate(Source(ROWS)).state(rows) is state


def test_what_may_say_something() -> None:
    assert [state for state in State if state.informative] == [State.LEARNED, State.UNKNOWN]


def test_a_run_takes_off_by_itself() -> None:
    gate = Gate(Source(ROWS))
    assert gate.took_off(row(0.6)) is True and gate.took_off(row(0.5)) is False
    assert gate.took_off(row(0.6, level=None)) is None


def labels(task: str) -> np.ndarray:
    return EMBEDDED.load(task).test["label"].to_numpy()


@pytest.mark.parametrize("task", ["sst2", "cola", "mrpc", "stsb"])
def test_older_rows_have_the_chance_of_the_labels(task: str) -> None:
    older = row(0.6, None, None, task=task, data_source=EMBEDDED.identity(task))
    gate = Gate(EMBEDDED)
    assert gate.chance(older) == chance(tasks.get(task), labels(task))
    assert gate.state([older]) is not State.UNKNOWN


@pytest.mark.parametrize("task", ["sst2", "cola", "mrpc", "stsb"])
def test_older_rows_tell_a_constant_answer_by_its_scores(task: str) -> None:
    known, of_task = labels(task), tasks.get(task)
    gate = Gate(EMBEDDED)
    for answer in np.eye(of_task.outputs):
        scores = of_task.scores(known, np.tile(answer, (len(known), 1)))
        older = row(scores[of_task.metrics[0]], None, None, task=task,
                    data_source=EMBEDDED.identity(task),
                    test_metrics={**scores, "unknown": None})  # fmt: skip
        assert gate.one_class(older) and gate.state([older]) is State.ONE_CLASS
        other = {name: score + 0.001 for name, score in scores.items()}
        assert not gate.one_class(older | {"test_metrics": other})
        assert not gate.one_class(older | {"answers": 2})  # the column decides


@pytest.mark.parametrize("source", [Source(ROWS), Source("hub"), Source("/nowhere")])
def test_without_the_data_nothing_is_known(source: Source) -> None:
    older = row(0.6, None, None)
    assert Gate(source).state([older]) is State.UNKNOWN and not Gate(source).one_class(older)


def test_labels_of_other_data_are_not_taken() -> None:
    older = row(0.6, None, None, data_source="files-0123")
    assert Gate(EMBEDDED).state([older]) is State.UNKNOWN
