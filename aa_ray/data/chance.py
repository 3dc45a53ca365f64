"""The chance level: the score of the best constant answer, which ignores the example.

A score is evidence of learning only if it exceeds this by more than the test set's sampling error.
"""

import math
from typing import NamedTuple

import numpy as np

from aa_ray.data.tasks import METRICS, Task


class Chance(NamedTuple):
    """The score of always giving the same answer on a set of examples.

    Attributes:
        score: the task's first metric for the best constant answer.
        error: the standard error of that score over examples of the same kind: binomial for
            accuracy, by the delta method for F1. A correlation is undefined for a constant answer;
            there it is the error for answers unrelated to the labels.
    """

    score: float
    error: float

    def exceeded(self, score: float, errors: float) -> bool:
        """Whether the score exceeds chance by more than ``errors`` standard errors."""
        return score > self.score + errors * self.error


def chance(task: Task, labels: np.ndarray) -> Chance:
    """The chance level of a task on examples with these labels [n]."""
    name = task.metrics[0]
    if task.regression:
        return Chance(0.0, _error_of_correlation(len(labels)))
    scores = [METRICS[name](labels, np.full_like(labels, k)) for k in range(task.classes)]
    score = max(scores)
    if name == "matthews_correlation":
        return Chance(score, 1 / math.sqrt(len(labels)))
    share = float(np.mean(labels == int(np.argmax(scores))))
    error = math.sqrt(share * (1 - share) / len(labels))
    if name == "f1":  # always answering 1 gives 2 p / (1 + p) if a share p of the labels is 1
        error *= 2 / (1 + share) ** 2
    return Chance(score, error)


def _error_of_correlation(n: int) -> float:
    """Standard error of Pearson's and Spearman's coefficient between unrelated variables."""
    return 1 / math.sqrt(n - 1) if n > 1 else float("inf")


def answers(task: Task, logits: np.ndarray) -> int:
    """Number of different answers in outputs [n, outputs]; 1 means that the input was ignored."""
    given = logits[:, 0] if task.regression else logits.argmax(axis=1)
    return len(np.unique(given))
