"""Sizes and times of architectures, measured side by side: the numbers behind claim C13.

All architectures are timed repeatedly and in turn in one process on the same examples, so that
other load on the machine affects all of them equally.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel

from aa_ray.core import engines, model
from aa_ray.data import batches, tasks
from aa_ray.data.glue import split
from aa_ray.study.grid import Study
from aa_ray.training import engine, evaluation, loop
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.device import set_precision
from aa_ray.training.evaluation import Job
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Trial

REPEATS = 9
# Test examples per inference timing: enough to exceed the noise, few enough to repeat.
EXAMPLES = 128


@dataclass
class Measurement:
    """One architecture: counts, bytes, and the seconds of each repeat."""

    layers: int
    parameters: int
    stored_bytes: int
    train_seconds: list[float] = field(default_factory=list)
    test_seconds: list[float] = field(default_factory=list)


def device() -> torch.device:
    """The device for timing: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(trials: dict[str, Trial], study: Study) -> dict[str, Measurement]:
    """Measure all architectures repeatedly and in turn; the trials share task and examples."""
    # LoRA and others live inside AdapterHub's linear layers; then all are timed with these layers.
    fast = not any(trial.configuration for trial in trials.values())
    set_precision(study.precision)
    encoder = freeze(model.load(study.backbone.path), device(), study.precision, fast)
    tokenizer = AutoTokenizer.from_pretrained(study.backbone.path)
    first = next(iter(trials.values()))
    task = tasks.get(first.task)
    splits = split(study.source.load(task.name), first.regime, first.seed)
    train, test = (
        batches.tokenise(part, task, tokenizer, first.max_length)
        for part in (splits.train.taken(), splits.test.table.slice(0, EXAMPLES))
    )
    parts = Parts(train, test)
    measured: dict[str, Measurement] = {}
    for repeat in range(REPEATS + 1):  # the first round warms up
        for title, trial in trials.items():
            [trial_model] = model.attach(encoder, [trial], task.outputs)
            trainer = TrialTrainer(trial_model, task, parts, study.backbone.num_layers)
            name = engines.engine_for(engines.AUTO, study.backbone, trial.configuration)
            of_trial = engine.make(name, encoder)
            if repeat == 0:
                measured[title] = _count(encoder, trainer)
            train_time = _seconds(partial(loop.train_epoch, of_trial, [trainer], epoch=1))
            job = Job(trainer, trainer.num_layers, test)
            test_time = _seconds(partial(evaluation.evaluate, of_trial, [job]))
            if repeat > 0:
                measured[title].train_seconds.append(train_time)
                measured[title].test_seconds.append(test_time)
    return measured


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _count(encoder: PreTrainedModel, trainer: TrialTrainer) -> Measurement:
    trial_model = trainer.trial_model
    with tempfile.TemporaryDirectory() as folder:
        encoder.save_adapter(folder, trial_model.name)
        stored = sum(path.stat().st_size for path in Path(folder).glob("pytorch_adapter*"))
    return Measurement(len(trial_model.layers), trial_model.parameters_in_use(0), stored)
