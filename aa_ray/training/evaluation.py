"""Evaluate trials side by side.

Trials on the same examples share the backbone's work below their lowest adapters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from aa_ray.data import batches
from aa_ray.data.batches import Examples
from aa_ray.data.chance import answers
from aa_ray.errors import TrainingError
from aa_ray.training import watchdog
from aa_ray.training.context import TrialContext, sort_key
from aa_ray.training.engine import Engine
from aa_ray.training.trainer import TrialTrainer

# Tokens of an evaluation batch, over all contexts: what a CPU's cache and a GPU's cores like.
EVALUATION_TOKENS = {"cpu": 2_048, "cuda": 65_536}


class Job(NamedTuple):
    """Something to evaluate: a trainer at an inference depth, on some examples."""

    trainer: TrialTrainer
    depth: int
    examples: Examples

    @property
    def context(self) -> TrialContext:
        return TrialContext(self.trainer.trial_model, self.trainer.num_layers - self.depth)


class Scores(NamedTuple):
    """What an evaluation gave.

    Attributes:
        metrics: by name.
        answers: number of different answers given; see ``aa_ray.data.chance.answers``.
    """

    metrics: dict[str, float]
    answers: int


def evaluate(engine: Engine, jobs: Sequence[Job]) -> list[Scores | TrainingError]:
    """Each job's scores; jobs with the same examples share what lies below their adapters."""
    engine.encoder.eval()
    by_examples: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        by_examples.setdefault(id(job.examples), []).append(number)
    scores: dict[int, Scores | TrainingError] = {}
    for numbers in by_examples.values():
        ordered = sorted(numbers, key=lambda number: sort_key(jobs[number].trainer.trial))
        logits = _logits(engine, [jobs[number] for number in ordered])
        for number, job_logits in zip(ordered, logits, strict=True):
            scores[number] = _scores(jobs[number], job_logits)
    return [scores[number] for number in range(len(jobs))]


def _logits(engine: Engine, jobs: Sequence[Job]) -> np.ndarray:
    """[jobs, examples, outputs] of jobs on the same examples."""
    trainer, _, examples = jobs[0]
    contexts = [job.context for job in jobs]
    device = engine.encoder.device.type
    tokens = EVALUATION_TOKENS.get(device, EVALUATION_TOKENS["cuda"]) // len(jobs)
    logits = np.empty((len(jobs), len(examples), trainer.task.outputs), dtype=np.float32)
    with torch.inference_mode():
        for indices in batches.by_length(examples, tokens):
            watchdog.beat()
            batch, _ = engine.pack([examples], [indices])
            batch_logits = engine.forward(batch, contexts, shared=True)
            logits[:, indices] = batch_logits.float().cpu().numpy()
    return logits


def _scores(job: Job, logits: np.ndarray) -> Scores | TrainingError:
    if not np.isfinite(logits).all():
        return TrainingError("the outputs became NaN or infinite; try lower learning rates")
    task = job.trainer.task
    return Scores(task.scores(job.examples.labels, logits), answers(task, logits))
