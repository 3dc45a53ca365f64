"""The command line that every study shares: run what is left, print the table."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import torch

from aa_ray.commands.from_options import PAPER_BACKBONE, number, one_of, resources_from, study_from
from aa_ray.commands.options import add_format, parser, rows_parser
from aa_ray.core import backbones
from aa_ray.core.logs import quiet_libraries
from aa_ray.errors import (
    FAILED_WORK,
    INTERRUPTED,
    TERMINATED,
    WRONG_USAGE,
    StorageError,
    SweepError,
    UsageError,
)
from aa_ray.report.figures import Drawing, save
from aa_ray.report.results import Results
from aa_ray.report.tables import FORMATS, Table
from aa_ray.store.rows import SCHEMA, Row, Store
from aa_ray.study.grid import Study
from aa_ray.study.queue import QUEUE_COLUMNS, TrialQueue
from aa_ray.study.resolve import RESOLVE_COLUMNS, Resolver
from aa_ray.sweep import memory, plan

TableMaker = Callable[[Results], Table]
DrawingMaker = Callable[[Results], Iterable[Drawing]]


def main(
    description: str,
    methods: Sequence[str],
    make_table: TableMaker,
    arguments: Sequence[str],
    backbone: str = PAPER_BACKBONE,
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Run a study from its command line and print its table; returns the exit status.

    0: the table is complete, or nothing was to be run. 1: some trials failed. 2: wrong usage.

    Args:
        description: of the study, for ``--help``.
        methods: the study's methods; ``--methods`` picks among them.
        make_table: the study's results -> its table.
        arguments: the command line, without the program's name.
        backbone: of every preset but demo.
        adapt: what makes the study of the one that the options describe, such as variants.
    """
    found = parser(description, methods)
    options = found.parse_args(arguments)

    def work() -> int:
        return _run(options, adapt(study_from(options, methods, backbone)), make_table)

    return _guarded(found.prog, options, work)


def draw(
    description: str,
    methods: Sequence[str],
    make_drawings: DrawingMaker,
    arguments: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Draw a study's figures from the rows that there are; returns the exit status.

    Args:
        make_drawings: the study's results -> its figures.
        description, methods, arguments, adapt: as in ``main``.
    """
    found = rows_parser(description, methods)
    found.add_argument(
        "--output",
        default="figures",
        metavar="DIR",
        help="folder for the figures (default: figures)",
    )
    options = found.parse_args(arguments)

    def work() -> int:
        for drawing in make_drawings(_results(options, methods, adapt)):
            for path in save(drawing, Path(options.output)):
                print(path)
            for name in drawing.missing:
                print(f"missing in {drawing.name}: {name}", file=sys.stderr)
        return 0

    return _guarded(found.prog, options, work)


def show(
    description: str,
    methods: Sequence[str],
    make_table: TableMaker,
    arguments: Sequence[str],
) -> int:
    """Print a table made from the rows that there are; returns the exit status.

    Args:
        make_table: the study's results -> the table.
        description, methods, arguments: as in ``main``.
    """
    found = rows_parser(description, methods)
    add_format(found)
    options = found.parse_args(arguments)

    def work() -> int:
        style = one_of("format", options.format, FORMATS)
        print(make_table(_results(options, methods)).render(style), end="")
        return 0

    return _guarded(found.prog, options, work)


def one(found: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; returns the exit status.

    Args:
        found: its parsers set ``work``, which takes the options and returns the exit status.
        arguments: the command line, without the program's name.
    """
    options = found.parse_args(arguments)
    return _guarded(found.prog, options, lambda: int(options.work(options)))


def report(
    description: str,
    methods: Sequence[str],
    make_page: Callable[[Results, Sequence[str]], str],
    arguments: Sequence[str],
) -> int:
    """Write a page about the rows that there are, be there none; returns the exit status.

    Args:
        make_page: (the study's results, the options that describe it) -> the page.
        description, methods, arguments: as in ``main``.
    """
    found = rows_parser(description, methods)
    own = argparse.ArgumentParser(add_help=False)  # what does not describe the study
    for each in (found, own):
        each.add_argument(
            "--output",
            default="report.html",
            metavar="FILE",
            help="the page (default: report.html)",
        )
    own.add_argument("--methods", nargs="+")  # the results know them
    own.add_argument("--debug", action="store_true")
    options = found.parse_args(arguments)

    def work() -> int:
        text = make_page(_results(options, methods, empty=True), own.parse_known_args(arguments)[1])
        path = Path(options.output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(
                f"--output {path}: cannot be written ({error.strerror}); give another file"
            ) from error
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return 0

    return _guarded(found.prog, options, work)


def _results(
    options: argparse.Namespace,
    methods: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
    empty: bool = False,
) -> Results:
    """The rows of the study that the options describe; ``empty``: there may be none."""
    study = adapt(study_from(options, methods, PAPER_BACKBONE))
    table = Store(options.results).read()
    trials = Resolver(study, table.select(RESOLVE_COLUMNS).to_pylist()).cells
    results = Results(study, _rows_of(trials, table))
    if not (results.used or empty):
        raise UsageError(f"--results {options.results}: no rows of this study; run it first")
    return results


def _guarded(program: str, options: argparse.Namespace, work: Callable[[], int]) -> int:
    """Do the work; wrong usage, a full disk and interruption become one line and an exit status."""
    quiet_libraries()
    terminated: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)

    def terminate(*_: object) -> NoReturn:
        terminated.append(True)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    try:
        return work()
    except (UsageError, StorageError, SweepError) as error:
        if options.debug:
            raise
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED_WORK
    except KeyboardInterrupt:
        print("\nstopped; finished trials are kept, the same command goes on", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _run(options: argparse.Namespace, study: Study, make_table: TableMaker) -> int:
    style = one_of("format", options.format, FORMATS)
    resources = resources_from(options)
    if not options.no_run:
        study.check_data()
    note_untrained_pooler(study)
    for (task, regime), available in study.left_out.items():
        print(f"left out: {task} {regime}, since its training data has {available} examples",
              file=sys.stderr)  # fmt: skip
    store = Store(options.results)
    rows = store.read(SCHEMA.names if options.no_run else QUEUE_COLUMNS)
    queue = TrialQueue(study, rows.select(QUEUE_COLUMNS).to_pylist())
    if options.retry_failed:
        queue.forget_failures()
    if options.gpus is not None and not options.plan:
        raise UsageError("--gpus is for --plan; a study runs on what --address or this machine has")
    if options.plan:
        print(plan.describe(queue, resources, number(options, "gpus", int, 1)))
        return 0
    if not options.no_run and not queue.complete:
        if study.precision == "tf32" and resources.gpus_per_trial == 0:
            raise UsageError(
                "--precision tf32 needs GPUs: give --gpus-per-trial, or use fp32, bf16"
            )
        store.folder.check_writable()
        if resources.address is None:
            memory.settle(resources, queue, memory.local_gpus()).slots(
                {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}
            )
            # Ray of this machine alone listens on loopback only; ray reads this when imported.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from aa_ray.sweep import tune

        tune.run_study(queue, store, resources)
    results = Results(study, _rows_of(queue.trial_ids, rows if options.no_run else store.read()))
    print(make_table(results).render(style), end="")
    return _closing(queue, store, options)


def note_untrained_pooler(study: Study) -> None:
    """Say so where the study reads the backbone through weights that nobody has trained."""
    if study.backbone.pooling == "cls" and not backbones.pooler_is_trained(study.backbone):
        print(
            f"note: the pooler of {study.backbone.identity} was never trained, and pooling=cls "
            "reads every example through it; use --set pooling=mean",
            file=sys.stderr,
        )


def _rows_of(trial_ids: Iterable[str], rows: pa.Table) -> list[Row]:
    """The rows of a study's trials; a folder may hold a great many others."""
    wanted = pa.array(list(trial_ids), pa.string())
    return list(rows.filter(pc.is_in(rows["trial_id"], wanted)).to_pylist())


def _closing(queue: TrialQueue, store: Store, options: argparse.Namespace) -> int:
    """Where the rows are, and what failed; the exit status."""
    print(f"\nresults: {store.uri}", file=sys.stderr)
    failures = queue.failures()
    for cell, error in failures:
        print(f"failed: {cell}: {error}", file=sys.stderr)
    counts = queue.counts()
    if counts["lost"]:
        print(f"not run, since a trial they wait for failed: {counts['lost']}", file=sys.stderr)
    if failures:
        print("run again with --retry-failed to try the failed ones anew", file=sys.stderr)
    return FAILED_WORK if failures and not options.no_run else 0
