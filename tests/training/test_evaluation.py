"""aa_ray.training.evaluation: scores side by side equal those alone.

A broken job harms no other.
"""

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from aa_ray.core import heads, model
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.batches import Examples
from aa_ray.data.tasks import Task
from aa_ray.errors import TrainingError
from aa_ray.training import evaluation
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import FusedEngine
from aa_ray.training.evaluation import Job, evaluate
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Trial
from tests.training.test_loop import examples

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"layers": (2,)},
    {"switched": True, "activation": "rational:one"},
    {"layers": ()},
)


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


@pytest.fixture
def trainers(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> list[TrialTrainer]:
    """Trainers of several architectures, with adapters far from their initial values."""
    trial_models = model.attach(bert, [make_trial(**of_trial) for of_trial in SETTINGS], outputs=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for trial_model in trial_models:
            for p in trial_model.parameters():
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.3)
    parts = Parts(examples(8), examples(8))
    return [
        TrialTrainer(trial_model, tasks.get("sst2"), parts, num_layers=3)
        for trial_model in trial_models
    ]


def mixed(trainers: list[TrialTrainer]) -> list[Job]:
    """Return jobs on two sets of examples, unordered, at several AdapterDrop depths."""
    sets: list[Examples] = [examples(40, seed=1), examples(25, seed=2)]
    return [
        Job(c, depth, sets[(k + depth) % 2]) for depth in (3, 1) for k, c in enumerate(trainers)
    ]


def test_side_by_side_as_each_alone(
    bert: BertForSequenceClassification,
    trainers: list[TrialTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = mixed(trainers)
    monkeypatch.setitem(evaluation.EVALUATION_TOKENS, "cpu", 64)  # several batches
    alone = [evaluate(FusedEngine(bert), [job])[0] for job in jobs]
    assert evaluate(FusedEngine(bert), jobs) == alone
    assert len({str(scores) for scores in alone}) > 3


def test_logits_are_those_of_every_example_in_its_place(
    bert: BertForSequenceClassification,
    trainers: list[TrialTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []

    def scores(_: Task, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
        seen.append(logits)
        return {}

    monkeypatch.setattr(Task, "scores", scores)
    together = examples(30, seed=3)
    evaluate(FusedEngine(bert), [Job(trainers[0], 3, together)])
    for k in (0, 17, 29):
        one = together.select(np.array([k]))
        evaluate(FusedEngine(bert), [Job(trainers[0], 3, one)])
        np.testing.assert_allclose(seen[-1][0], seen[0][k], rtol=1e-4, atol=1e-5)


def test_outputs_that_are_not_finite_are_an_error_of_their_job_alone(
    bert: BertForSequenceClassification, trainers: list[TrialTrainer]
) -> None:
    jobs = mixed(trainers)[: len(trainers)]
    before = evaluate(FusedEngine(bert), jobs)
    with torch.no_grad():
        [classifier] = heads.linears(trainers[1].trial_model.classifier)
        classifier.weight.fill_(float("inf"))
    after = evaluate(FusedEngine(bert), jobs)
    assert isinstance(after[1], TrainingError) and "lower learning rates" in str(after[1])
    assert [after[k] for k in (0, 2, 3)] == [before[k] for k in (0, 2, 3)]


@pytest.mark.parametrize(
    ("total", "allocated", "tokens"),
    [(80e9, 2e9, 32_768), (24e9, 18e9, 32_768), (24e9, 20e9, 16_384), (24e9, 23.9e9, 2_048)],
)
def test_batches_on_a_gpu_leave_room_for_training(
    monkeypatch: pytest.MonkeyPatch, total: float, allocated: float, tokens: int
) -> None:
    """For BERT-large in float32, 65,536 tokens take 4.7 GB in simulation."""
    encoder = types.SimpleNamespace(
        device=torch.device("cuda"), dtype=torch.float32,
        config=types.SimpleNamespace(hidden_size=1024),
    )  # fmt: skip
    monkeypatch.setattr(evaluation, "device_memory_bytes", lambda _: total)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated)
    assert evaluation.batch_tokens(encoder) == tokens
