"""aa_ray.data.tasks: metrics against hand-computed values, and the requirements of each task."""

import numpy as np
import pytest

from aa_ray.data import tasks
from aa_ray.data.tasks import METRICS, TASKS
from aa_ray.errors import UsageError

LABELS = np.array([1, 1, 1, 0, 0, 1])
PREDICTIONS = np.array([1, 1, 0, 0, 1, 1])  # 3 true positives, 1 false, 1 missed, 1 true negative


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 4 / 6),
        ("f1", 2 * 3 / (2 * 3 + 1 + 1)),
        ("matthews_correlation", (3 * 1 - 1 * 1) / np.sqrt(4 * 4 * 2 * 2)),
    ],
)
def test_classification_metrics(metric: str, expected: float) -> None:
    assert METRICS[metric](LABELS, PREDICTIONS) == pytest.approx(expected)


def test_correlations() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 9.0, 16.0])
    assert METRICS["spearman"](x, y) == pytest.approx(1.0)
    assert METRICS["pearson"](x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


@pytest.mark.parametrize("metric", METRICS)
def test_constant_predictions_have_a_score(metric: str) -> None:
    score = METRICS[metric](np.array([0, 1, 1]), np.array([0, 0, 0]))
    assert score == pytest.approx(1 / 3 if metric == "accuracy" else 0.0)


def test_the_deciding_metrics_are_the_papers() -> None:
    decisive = {name: task.metrics[0] for name, task in TASKS.items()}
    others = {"qqp": "f1", "mrpc": "f1", "cola": "matthews_correlation", "stsb": "spearman"}
    assert decisive == dict.fromkeys(TASKS, "accuracy") | others


def test_scores_take_the_largest_logit_or_the_regression_output() -> None:
    logits = np.array([[0.1, 0.9], [2.0, -1.0]])
    assert tasks.get("rte").scores(np.array([1, 0]), logits) == {"accuracy": 1.0}
    scores = tasks.get("stsb").scores(np.array([0.0, 2.5, 5.0]), np.array([[0.0], [1.0], [9.0]]))
    assert scores["spearman"] == pytest.approx(1.0)


def test_unknown_task() -> None:
    with pytest.raises(UsageError, match=r"unknown task 'colla' \(allowed: mnli, .*wnli\)"):
        tasks.get("colla")
