"""Decides whether a cell of a table has learned anything, that is, scores above chance.

A line's cell (its trials in one task and regime) is learned if its mean test score is above chance
by more than ``ERRORS_ABOVE_CHANCE`` standard errors of the test set, and its trials predict more
than one class. Rows have the columns ``chance``, ``chance_error`` and ``answers``. For older rows
without them, chance comes from the test labels, if the data is generated or in a folder. A model
that always gives the same answer is then recognised by its scores, which are exactly those of that
answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aa_ray.data import tasks
from aa_ray.errors import UsageError
from aa_ray.report import statistics

if TYPE_CHECKING:
    from aa_ray.data.chance import Chance
    from aa_ray.data.glue import Source
    from aa_ray.store.rows import Row

ERRORS_ABOVE_CHANCE = 3.0


class State(Enum):
    """States of a line's cell: what its trials have learned."""

    LEARNED = "learned"
    CHANCE = "chance"
    ONE_CLASS = "one class"
    UNKNOWN = "unknown"  # no rows, or rows and data do not tell what chance is

    @property
    def informative(self) -> bool:
        """Whether scores may be informative; they may if nothing is known."""
        return self in (State.LEARNED, State.UNKNOWN)


class Gate:
    """Decides what rows have learned.

    Args:
        source: the study's data, for rows that do not record the chance level.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def state(self, rows: Sequence[Row]) -> State:
        """The state of a line's cell, given its rows, one per seed."""
        level = self.chance(rows[0]) if rows else None
        if level is None:
            return State.UNKNOWN
        one_class = [self.one_class(row) for row in rows]
        score = statistics.mean([row["test_metric"] for row in rows])
        if level.exceeded(score, ERRORS_ABOVE_CHANCE) and not all(one_class):
            return State.LEARNED
        return State.ONE_CLASS if 2 * sum(one_class) > len(rows) else State.CHANCE

    def took_off(self, row: Row) -> bool | None:
        """Whether one training run is above chance; None if that is not known."""
        state = self.state([row])
        return None if state is State.UNKNOWN else state is State.LEARNED

    def chance(self, row: Row) -> Chance | None:
        """The chance level (best constant answer) on the row's test set; None if unknown."""
        from aa_ray.data.chance import Chance

        if row.get("chance") is not None and row.get("chance_error") is not None:
            return Chance(row["chance"], row["chance_error"])
        test = _test_set(self._source, row["task"], row["data_source"])
        return None if test is None else test.chance

    def one_class(self, row: Row) -> bool:
        """Whether the model gave the same answer to all test examples; False if unknown."""
        answers = row.get("answers")
        if answers is not None:
            return answers == 1
        test = _test_set(self._source, row["task"], row["data_source"])
        scores = row.get("test_metrics") or {tasks.get(row["task"]).metrics[0]: row["test_metric"]}
        known = [(name, score) for name, score in scores.items() if score is not None]
        return test is not None and any(
            all(math.isclose(constant[name], score, abs_tol=1e-9) for name, score in known)
            for constant in test.constant_scores
        )


def development_chance(row: Row) -> Chance | None:
    """The chance level on the row's development set; None if unknown."""
    from aa_ray.data.chance import Chance

    if row.get("dev_chance") is None or row.get("dev_chance_error") is None:
        return None
    return Chance(row["dev_chance"], row["dev_chance_error"])


def development_took_off(row: Row) -> bool | None:
    """Whether the best development score is above chance; None if that is not known."""
    level = development_chance(row)
    return None if level is None else level.exceeded(row["dev_metric"], ERRORS_ABOVE_CHANCE)


class LabelledTest(NamedTuple):
    """Scores of constant answers on a test set.

    Attributes:
        chance: see ``aa_ray.data.chance``.
        constant_scores: for each answer, its scores by metric if it is given to all examples.
    """

    chance: Chance
    constant_scores: list[dict[str, float]]


@lru_cache(maxsize=64)
def _test_set(source: Source, name: str, recorded: str) -> LabelledTest | None:
    """A task's test set, if the data that a row names is available; nothing is downloaded."""
    from aa_ray.data import glue
    from aa_ray.data.chance import chance

    if source.location in ("hub", glue.ROWS):
        return None
    try:
        if source.identity(name) != recorded:
            return None
        labels = source.load(name).test["label"].to_numpy()
    except UsageError:
        return None
    task = tasks.get(name)
    answers = np.eye(task.outputs)  # for regression, any constant answer is as good
    tiled = [np.tile(answer, (len(labels), 1)) for answer in answers]
    return LabelledTest(chance(task, labels), [task.scores(labels, logits) for logits in tiled])
