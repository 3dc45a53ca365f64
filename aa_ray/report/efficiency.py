"""Claim C13: what AA-focused saves against Baseline, measured side by side.

Parameters, bytes on disk in AdapterHub's format, and the time of training and inference. All
architectures are timed in turn on one machine, in one process, on the same examples, again and
again, so that what else the machine does falls on all of them.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from aa_ray.core import architectures, model
from aa_ray.core.architectures import BASELINE
from aa_ray.data import batches, tasks
from aa_ray.data.glue import split
from aa_ray.errors import UsageError
from aa_ray.report.results import Results
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.store import provenance
from aa_ray.training import evaluation, loop
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.evaluation import Job
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Trial

REPEATS = 9
# Test examples per inference timing: enough to leave the noise, few enough to repeat.
EXAMPLES = 128


@dataclass
class Measurement:
    """One architecture: counts, bytes, and the seconds of each repeat."""

    layers: int
    parameters: int
    stored_bytes: int
    train_seconds: list[float] = field(default_factory=list)
    test_seconds: list[float] = field(default_factory=list)


def table(results: Results) -> Table:
    """The measured table for the study's first task, regime and seed.

    Raises:
        UsageError: the ``aa`` trials that decide the architectures have not been run, or Baseline,
            with which the others are compared, is not among the methods.
    """
    study = results.study
    task, regime = study.tasks[0], study.regimes[0]
    reference = architectures.get(BASELINE).title
    if BASELINE not in study.methods:
        raise UsageError(f"the others are compared with {reference}; add {BASELINE} to --methods")
    measured = measure(_trials(results, task, regime), results)
    lines = [(title, _entries(one, measured[reference])) for title, one in measured.items()]
    device = provenance.device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    caption = (
        f"Efficiency. Backbone {study.backbone.identity}, {tasks.get(task).title}, "
        f"{results.regime_title(regime)}: adapter layers; adapter parameters; adapter on disk in "
        "AdapterHub's format; "
        f"one training epoch; inference on up to {EXAMPLES} test examples. Medians of {REPEATS} "
        f"interleaved repeats; in brackets the ratio to {reference}. {device}."
    )
    columns = ["layers", "parameters", "on disk, kB", "train, ms", "inference, ms"]
    return Table(caption, columns, [Section("C13", lines)])


def _entries(measurement: Measurement, reference: Measurement) -> list[Entry]:
    """The numbers of one architecture, with their ratios to the reference's."""
    pairs = zip(_numbers(measurement), _numbers(reference), strict=True)
    ratios = [Entry(f"{mine:,.0f} ({mine / other:.2f})", mean=mine) for mine, other in pairs]
    return [Entry(str(measurement.layers), mean=measurement.layers), *ratios]


def _numbers(measurement: Measurement) -> tuple[float, ...]:
    """Parameters, kilobytes on disk, milliseconds of training and of inference."""
    return (
        measurement.parameters,
        measurement.stored_bytes / 1000,
        _median_ms(measurement.train_seconds),
        _median_ms(measurement.test_seconds),
    )


def _median_ms(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)


def _trials(results: Results, task: str, regime: str) -> dict[str, Trial]:
    """Title -> trial, of the study's first seed."""
    trials = {}
    for line in results.lines():
        trial = results.trial(line, task, regime, results.study.seeds[0])
        if trial is None:
            raise UsageError(
                f"{line.method} on {task} {regime}: its layers are not known yet; run "
                "studies/table2.py with the same options first"
            )
        trials[line.title] = trial
    return trials


def measure(trials: dict[str, Trial], results: Results) -> dict[str, Measurement]:
    """Measure every architecture, in turn and repeatedly; the trials share task and examples."""
    study = results.study
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bert = freeze(model.load(study.backbone.path), device, study.precision)
    tokenizer = AutoTokenizer.from_pretrained(study.backbone.path)
    first = next(iter(trials.values()))
    task = tasks.get(first.task)
    splits = split(study.source.load(task.name), first.regime, first.seed)
    train, test = (
        batches.tokenise(part, task, tokenizer, first.max_length)
        for part in (splits.train, splits.test.slice(0, EXAMPLES))
    )
    parts = Parts(train, test)
    measured: dict[str, Measurement] = {}
    for repeat in range(REPEATS + 1):  # the first round warms up
        for title, trial in trials.items():
            [trial_model] = model.attach(bert, [trial], task.outputs)
            trainer = TrialTrainer(trial_model, task, parts, bert.config.num_hidden_layers)
            if repeat == 0:
                measured[title] = _count(bert, trainer)
            train_time = _seconds(device, partial(loop.train_epoch, bert, [trainer], epoch=1))
            job = Job(trainer, trainer.num_layers, test)
            test_time = _seconds(device, partial(evaluation.evaluate, bert, [job]))
            if repeat > 0:
                measured[title].train_seconds.append(train_time)
                measured[title].test_seconds.append(test_time)
    return measured


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _count(bert: BertForSequenceClassification, trainer: TrialTrainer) -> Measurement:
    trial_model = trainer.trial_model
    with tempfile.TemporaryDirectory() as folder:
        bert.save_adapter(folder, trial_model.name)
        stored = sum(path.stat().st_size for path in Path(folder).glob("pytorch_adapter*"))
    return Measurement(len(trial_model.layers), trial_model.parameters_in_use(0), stored)
