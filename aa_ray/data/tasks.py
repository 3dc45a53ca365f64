"""The nine GLUE tasks of the study (paper section 4.1, Table 1).

A task on custom data is defined in a file; see ``aa_ray.study.plugins``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from aa_ray.errors import unknown

# The command line only needs the names of tasks and metrics. The first metric imports scikit-learn
# and SciPy, which takes a second.
if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Metric: TypeAlias = "Callable[[np.ndarray, np.ndarray], float]"


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of predictions that equal the label."""
    from sklearn import metrics

    return float(metrics.accuracy_score(labels, predictions))


def f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of class 1; 0 where the class is never predicted or never occurs."""
    from sklearn import metrics

    return float(metrics.f1_score(labels, predictions, zero_division=0.0))


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation; 0 where all labels or all predictions are the same."""
    from sklearn import metrics

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(metrics.matthews_corrcoef(labels, predictions))


def pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Pearson correlation; 0 where either side is constant (it is undefined there)."""
    from scipy import stats

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(stats.pearsonr(labels, predictions).statistic)


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman rank correlation; 0 where either side is constant (it is undefined there)."""
    from scipy import stats

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(stats.spearmanr(labels, predictions).statistic)


def _constant(values: np.ndarray) -> bool:
    """Whether all values are the same."""
    return bool(values.min() == values.max())


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


class Origin(Protocol):
    """The source of a custom task's examples; see ``aa_ray.data.own_files``."""

    @property
    def train(self) -> str:
        """The file or split that holds the training data."""

    def identity(self, task: Task) -> str:
        """A name of the data and its definition that is the same on all machines."""

    def tables(self, task: Task) -> tuple[pa.Table, pa.Table]:
        """Training and test data, with the task's text columns and ``label``."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: the configuration name in ``nyu-mll/glue``.
        title: as printed in the paper's tables.
        texts: the one or two text columns.
        classes: number of classes; 0 means regression on a float label.
        metrics: keys of ``METRICS``; the first one selects the best epoch and is shown in tables.
        train_rows, test_rows: official sizes; the test set here is the official development set.
        test_split: its name.
        labels: names of the classes in order; empty if the data has only numbers.
        origin: the source of a custom task's examples; None for GLUE.
    """

    name: str
    title: str
    texts: tuple[str, ...]
    classes: int
    metrics: tuple[str, ...]
    train_rows: int
    test_rows: int
    test_split: str = "validation"
    labels: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def regression(self) -> bool:
        return self.classes == 0

    @property
    def outputs(self) -> int:
        """Width of the classifier: one per class, or one number."""
        return self.classes or 1

    def scores(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        """All metrics of the task from labels [n] and logits [n, outputs]."""
        predictions = logits[:, 0] if self.regression else logits.argmax(axis=1)
        return {name: METRICS[name](labels, predictions) for name in self.metrics}


_PAIR = ("sentence1", "sentence2")
_QUESTIONS = ("question1", "question2")

# In the order of the paper's tables.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("mnli", "MNLI", ("premise", "hypothesis"), 3, ("accuracy",), 392702, 9815,
             "validation_matched"),
        Task("qqp", "QQP", _QUESTIONS, 2, ("f1", "accuracy"), 363846, 40430),
        Task("qnli", "QNLI", ("question", "sentence"), 2, ("accuracy",), 104743, 5463),
        Task("sst2", "SST-2", ("sentence",), 2, ("accuracy",), 67349, 872),
        Task("cola", "CoLA", ("sentence",), 2, ("matthews_correlation", "accuracy"), 8551, 1043),
        Task("stsb", "STS-B", _PAIR, 0, ("spearman", "pearson"), 5749, 1500),
        Task("mrpc", "MRPC", _PAIR, 2, ("f1", "accuracy"), 3668, 408),
        Task("rte", "RTE", _PAIR, 2, ("accuracy",), 2490, 277),
        Task("wnli", "WNLI", _PAIR, 2, ("accuracy",), 635, 71),
    )
}  # fmt: skip


def get(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: no such task.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
