"""Evaluate trials side by side.

Trials on the same examples share the backbone's work below their lowest adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from aa_ray.data import batches
from aa_ray.data.batches import Examples
from aa_ray.data.chance import answers
from aa_ray.errors import TrainingError
from aa_ray.store.provenance import device_memory_bytes
from aa_ray.training import watchdog
from aa_ray.training.context import TrialContext, sort_key
from aa_ray.training.device import free, is_out_of_memory
from aa_ray.training.engine import Engine
from aa_ray.training.trainer import TrialTrainer

# Maximum number of tokens of an evaluation batch, over all contexts: suits a CPU's cache and a
# GPU's cores. A GPU gets fewer if training leaves too little memory.
EVALUATION_TOKENS = {"cpu": 2_048, "cuda": 32_768}

# Bytes of an evaluation batch on a GPU per token and hidden unit in float32. A simulation of 65,536
# tokens through BERT-large gives 72.
BYTES_PER_UNIT = 72

# The share of free memory that an evaluation may plan with, since other processes use the GPU too.
SHARE = 0.5


class Job(NamedTuple):
    """An evaluation to be done: a trainer at an inference depth, on some examples."""

    trainer: TrialTrainer
    depth: int
    examples: Examples

    @property
    def context(self) -> TrialContext:
        return TrialContext(self.trainer.trial_model, self.trainer.num_layers - self.depth)


class Scores(NamedTuple):
    """The result of an evaluation.

    Attributes:
        metrics: metric name -> score.
        answers: number of different answers; see ``aa_ray.data.chance.answers``.
    """

    metrics: dict[str, float]
    answers: int


@dataclass
class _Limit:
    """The largest number of tokens per batch that has fitted into this process's device memory."""

    tokens: int = EVALUATION_TOKENS["cuda"]


_LIMIT = _Limit()


def batch_tokens(encoder: PreTrainedModel) -> int:
    """Number of tokens of an evaluation batch on the encoder's device, over all contexts."""
    if encoder.device.type != "cuda":
        return min(EVALUATION_TOKENS.get(encoder.device.type, _LIMIT.tokens), _LIMIT.tokens)
    memory = device_memory_bytes(encoder.device) or 0
    free = SHARE * (memory - torch.cuda.memory_allocated(encoder.device))
    per_token = encoder.config.hidden_size * BYTES_PER_UNIT * encoder.dtype.itemsize / 4
    tokens = EVALUATION_TOKENS["cuda"]
    while tokens * per_token > free and tokens > EVALUATION_TOKENS["cpu"]:
        tokens //= 2  # in coarse steps, so that a trial has the same batches each time
    return min(tokens, _LIMIT.tokens)


def evaluate(engine: Engine, jobs: Sequence[Job]) -> list[Scores | TrainingError]:
    """Each job's scores; jobs with the same examples share the layers below their adapters."""
    engine.encoder.eval()
    by_examples: dict[int, list[int]] = {}
    for number, job in enumerate(jobs):
        by_examples.setdefault(id(job.examples), []).append(number)
    scores: dict[int, Scores | TrainingError] = {}
    for numbers in by_examples.values():
        ordered = sorted(numbers, key=lambda number: sort_key(jobs[number].trainer.trial))
        logits = _logits_in_memory(engine, [jobs[number] for number in ordered])
        for number, job_logits in zip(ordered, logits, strict=True):
            scores[number] = _scores(jobs[number], job_logits)
    return [scores[number] for number in range(len(jobs))]


def _logits_in_memory(engine: Engine, jobs: Sequence[Job]) -> np.ndarray:
    """The result of ``_logits``, computed in batches that fit into the device's memory.

    Raises:
        OutOfMemoryError: the memory is too small for one example of each job.
    """
    while True:
        tokens = batch_tokens(engine.encoder)
        try:
            return _logits(engine, jobs, tokens)
        except RuntimeError as error:
            if not is_out_of_memory(error) or tokens <= len(jobs):
                raise
            free(error)
        _LIMIT.tokens = tokens // 2


def _logits(engine: Engine, jobs: Sequence[Job], tokens: int) -> np.ndarray:
    """Logits [jobs, examples, outputs] of jobs on the same examples.

    Args:
        tokens: maximum number of tokens of a batch, over all jobs.
    """
    trainer, _, examples = jobs[0]
    contexts = [job.context for job in jobs]
    logits = np.empty((len(jobs), len(examples), trainer.task.outputs), dtype=np.float32)
    with torch.inference_mode():
        for indices in batches.by_length(examples, max(1, tokens // len(jobs))):
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
