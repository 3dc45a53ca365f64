"""aa_ray.data.chance against all constant answers and against simulated test sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from aa_ray.data import tasks
from aa_ray.data.chance import answers, chance


@given(st.lists(st.integers(0, 2), min_size=2))
def test_no_constant_answer_scores_better(labels: list[int]) -> None:
    of_labels = np.array(labels)
    mnli = chance(tasks.get("mnli"), of_labels)
    assert mnli.score == max(metrics.accuracy_score(labels, [k] * len(labels)) for k in range(3))
    binary = of_labels.clip(max=1)
    qqp = chance(tasks.get("qqp"), binary)
    assert qqp.score == metrics.f1_score(binary, np.ones_like(binary), zero_division=0.0)
    assert chance(tasks.get("cola"), binary).score == 0


@pytest.mark.parametrize(("task", "share"), [("sst2", 0.51), ("mrpc", 0.68), ("qqp", 0.37)])
def test_the_error_is_that_of_other_test_sets(task: str, share: float) -> None:
    rng = np.random.default_rng(0)
    n = 800
    varies = task != "sst2"  # there the larger of two similar shares varies less than either
    count = 4000 if varies else 1
    draws = [chance(tasks.get(task), (rng.random(n) < share).astype(int)) for _ in range(count)]
    if varies:
        assert np.std([c.score for c in draws]) == pytest.approx(draws[0].error, rel=0.1)
    assert draws[0].exceeded(draws[0].score + 3.1 * draws[0].error, 3)
    assert not draws[0].exceeded(draws[0].score + 2.9 * draws[0].error, 3)


@pytest.mark.parametrize(("task", "rows"), [("cola", 1043), ("stsb", 1500)])
def test_the_error_of_a_correlation_is_that_of_unrelated_answers(task: str, rows: int) -> None:
    rng = np.random.default_rng(0)
    if task == "stsb":
        labels = rng.random(rows)
        scores = [stats.spearmanr(labels, rng.random(rows)).statistic for _ in range(2000)]
    else:
        labels = (rng.random(rows) < 0.7).astype(int)
        draws = [(rng.random(rows) < 0.3).astype(int) for _ in range(2000)]
        scores = [metrics.matthews_corrcoef(labels, draw) for draw in draws]
    level = chance(tasks.get(task), labels)
    assert level.score == 0 and np.std(scores) == pytest.approx(level.error, rel=0.1)


def test_answers_are_counted() -> None:
    assert answers(tasks.get("mnli"), np.array([[1.0, 2, 0], [0, 3, 1], [9, 1, 1]])) == 2
    assert answers(tasks.get("stsb"), np.array([[1.5], [1.5]])) == 1
