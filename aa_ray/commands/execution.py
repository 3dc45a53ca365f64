"""Executes a study once its options are known: read the rows, run the rest, print the table."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from aa_ray.commands import printing
from aa_ray.commands.from_options import resources_from
from aa_ray.core import architectures, backbones, configurations
from aa_ray.core.engines import engine_for
from aa_ray.errors import FAILED_WORK, SweepError, UsageError, one_line
from aa_ray.report.results import Results
from aa_ray.report.tables import Table
from aa_ray.store.rows import SCHEMA, Row, Store
from aa_ray.study.grid import Study
from aa_ray.study.queue import QUEUE_COLUMNS, TrialQueue
from aa_ray.study.resolve import RESOLVE_COLUMNS, Resolver
from aa_ray.sweep import leftovers, memory, plan
from aa_ray.sweep.resources import Resources


def run(
    options: argparse.Namespace,
    study: Study,
    make_table: Callable[[Results], Table],
) -> int:
    """Run the rest of the study, unless only the table is wanted, and print its table.

    Returns:
        The exit status.

    Raises:
        UsageError: wrong data, not enough space, or a machine that is too small.
        StorageError, SweepError: see ``aa_ray.sweep.tune.run_study``.
    """
    _check_together(options)
    resources = resources_from(options)
    check_engine(study, resources.engine)
    if not options.no_run:
        study.check_data(options.plan)
    for (task, regime), available in study.left_out.items():
        print(f"left out: {task} {regime}, since the training data has {available} examples",
              file=sys.stderr)  # fmt: skip
    store = Store(options.results)
    rows = store.read(SCHEMA.names if options.no_run else QUEUE_COLUMNS)
    queue = TrialQueue(study, rows.select(QUEUE_COLUMNS).to_pylist())
    if options.retry_failed:
        queue.forget_failures()
    if options.plan:
        print(plan.describe(queue, resources, options.gpus))
        return 0
    unfinished = not (options.no_run or queue.complete)
    if unfinished:
        _check_before(queue, store, resources)
    note_untrained_pooler(study)
    if unfinished:
        _sweep(queue, store, resources)
    if not options.no_run:
        leftovers.remove_after(queue, store)
        rows = store.read()
        _check_after(queue, rows, store)
    results = Results(study, _rows_of(queue.trial_ids, rows))
    if options.no_run and not results.used:
        printing.print_unrun(make_table(results), options)
    else:
        printing.print_table(make_table(results), options)
    failures = _report_failures(queue, store)
    return FAILED_WORK if failures and not options.no_run else 0


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options to run nothing together with options to run something.

    Raises:
        UsageError: two options contradict each other.
    """
    for first, second in (("plan", "no_run"), ("no_run", "retry_failed")):
        if getattr(options, first) and getattr(options, second):
            words = [f"--{name.replace('_', '-')}" for name in (first, second)]
            raise UsageError(f"{words[0]} and {words[1]} exclude each other; omit one of them")


def check_engine(study: Study, wanted: str) -> None:
    """Refuse an engine that cannot compute all of the study's methods.

    Raises:
        UsageError: the engine cannot compute one of them.
    """
    for name in study.methods:
        configuration = architectures.get(name).configuration
        engine_for(wanted, study.backbone, configurations.as_text(configuration or ""))


def _check_before(queue: TrialQueue, store: Store, resources: Resources) -> None:
    """Detect errors that would otherwise only show once Ray has started.

    Raises:
        UsageError: the study cannot run.
    """
    here = resources.address is None and resources.gpus_per_trial is None
    no_gpus = resources.gpus_per_trial == 0 or (here and not memory.local_gpus())
    if queue.study.precision == "tf32" and no_gpus:
        raise UsageError("--precision tf32 needs GPUs: set --gpus-per-trial, or use fp32 or bf16")
    backbones.check_available(queue.study.backbone)
    store.folder.check_writable()
    if resources.address is None:
        memory.check_fits(resources, queue)


def _check_after(queue: TrialQueue, rows: pa.Table, store: Store) -> None:
    """Check that no rows have been removed meanwhile.

    Raises:
        SweepError: rows of finished trials are gone.
    """
    lost = queue.finished_ids - set(rows["trial_id"].to_pylist())
    if lost:
        raise SweepError(
            f"{store.uri}: the rows of {len(lost)} finished trials are gone; was the folder "
            "removed or moved? The same command runs these trials again"
        )


def _sweep(queue: TrialQueue, store: Store, resources: Resources) -> None:
    """Run the remaining trials."""
    if resources.address is None:
        # Without a cluster, Ray listens on loopback only; ray reads this variable when imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from aa_ray.sweep import tune  # imports ray, which a finished study does not need

    tune.run_study(queue, store, resources)


def note_untrained_pooler(study: Study) -> None:
    """Print a note if the study reads the backbone through an untrained pooler."""
    if study.backbone.pooling == "cls" and not backbones.pooler_is_trained(study.backbone):
        print(
            f"note: the pooler of {study.backbone.identity} was never trained, and pooling=cls "
            "reads all examples through it; use --set pooling=mean",
            file=sys.stderr,
        )


def several(studies: Mapping[str, Study], uri: str) -> dict[str, Results]:
    """The results of each study by name; they may be empty."""
    table = Store(uri).read()
    decisive = table.select(RESOLVE_COLUMNS).to_pylist()
    return {
        name: Results(study, _rows_of(Resolver(study, decisive).cells, table))
        for name, study in studies.items()
    }


def _rows_of(trial_ids: Iterable[str], rows: pa.Table) -> list[Row]:
    """The rows of these trials; a folder may hold many others."""
    wanted = pa.array(list(trial_ids), pa.string())
    return list(rows.filter(pc.is_in(rows["trial_id"], wanted)).to_pylist())


def _report_failures(queue: TrialQueue, store: Store) -> int:
    """Print where the rows are and what failed; returns the number of failed trials."""
    print(f"\nresults: {store.uri}", file=sys.stderr)
    failures = queue.failures()
    for cell, error in failures:
        print(f"failed: {cell}: {one_line(error)}", file=sys.stderr)
    counts = queue.counts()
    if counts["lost"]:
        print(f"not run, since a trial they depend on failed: {counts['lost']}", file=sys.stderr)
    if failures:
        print("run again with --retry-failed to retry failed trials", file=sys.stderr)
    return len(failures)
