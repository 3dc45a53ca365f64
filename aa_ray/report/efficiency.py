"""Claim C13: what AA-focused saves against Baseline, measured side by side.

It compares parameters, bytes on disk in AdapterHub's format, and the times of training and
inference. All architectures are timed repeatedly and in turn in one process on the same examples,
so that other load on the machine affects all of them equally.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from aa_ray.core import architectures
from aa_ray.core.architectures import BASELINE
from aa_ray.data import tasks
from aa_ray.errors import UsageError
from aa_ray.report.tables import Entry, Section, Table
from aa_ray.store import provenance

if TYPE_CHECKING:
    from aa_ray.report.measurement import Measurement
    from aa_ray.report.results import Results
    from aa_ray.trial import Trial


def table(results: Results) -> Table:
    """The measured table for the study's first task, regime and seed.

    Raises:
        UsageError: the ``aa`` trials that decide the architectures have not been run, or Baseline,
            the reference, is not among the methods.
    """
    study = results.study
    task, regime = study.tasks[0], study.regimes[0]
    reference = architectures.get(BASELINE).title
    if BASELINE not in study.methods:
        raise UsageError(f"all are compared with {reference}; add {BASELINE} to --methods")
    trials = _trials(results, task, regime)
    from aa_ray.report import measurement  # imports torch; --help need not wait for it

    measured = measurement.measure(trials, study)
    lines = [(title, _entries(one, measured[reference])) for title, one in measured.items()]
    caption = (
        f"Efficiency. Backbone {study.backbone.identity}, {tasks.get(task).title}, "
        f"{results.regime_title(regime)}: adapter layers; adapter parameters; adapter on disk in "
        "AdapterHub's format; "
        f"one training epoch; inference on up to {measurement.EXAMPLES} test examples. Medians of "
        f"{measurement.REPEATS} interleaved repeats; in brackets the ratio to {reference}. "
        f"{provenance.device_name(measurement.device())}."
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
    """Title -> trial with the study's first seed."""
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
