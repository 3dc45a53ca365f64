"""The command line that every study shares."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from aa_ray import architectures, backbones, data, tasks
from aa_ray.data import Source
from aa_ray.errors import UsageError, unknown
from aa_ray.progress import duration
from aa_ray.resources import Resources
from aa_ray.results import Row, Store
from aa_ray.study import AGENDA_COLUMNS, Agenda, Study
from aa_ray.tables import FORMATS, Table

WRONG_USAGE, FAILED_WORK, INTERRUPTED = 2, 1, 130

# What a preset sets; an option of the command line wins over it.
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "backbone": backbones.MINILM,
        "data": "embedded",
        "tasks": ("qqp", "sst2", "cola"),
        "regimes": ("100",),
        "seeds": architectures.SEEDS[:2],
    },
    "low-data": {
        "backbone": "bert-large-uncased",
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": ("100", "300", "500"),
        "seeds": architectures.SEEDS,
    },
    "full": {
        "backbone": "bert-large-uncased",
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": ("full",),
        "seeds": architectures.SEEDS,
    },
    "paper": {
        "backbone": "bert-large-uncased",
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": tuple(data.REGIMES),
        "seeds": architectures.SEEDS,
    },
}

TableMaker = Callable[[Agenda, Iterable[Row]], Table]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the whole usage."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


def _parser(description: str, methods: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    study = parser.add_argument_group("what to run")
    study.add_argument(
        "--preset",
        default="demo",
        help="demo (default; minutes on a laptop), "
        "low-data, full or paper; the options below change single points of it",
    )
    study.add_argument(
        "--backbone",
        help="minilm, a model on the hub such as bert-large-uncased, "
        "or a folder with a BERT checkpoint",
    )
    study.add_argument(
        "--data",
        help="embedded (generated sentences), hub (nyu-mll/glue), or a "
        "folder with <task>/train.parquet and <task>/validation.parquet",
    )
    study.add_argument("--tasks", nargs="+", metavar="TASK", help=", ".join(tasks.TASKS))
    study.add_argument(
        "--regimes",
        nargs="+",
        metavar="REGIME",
        help=f"annotated examples: {', '.join(data.REGIMES)} (full runs the first seed only)",
    )
    study.add_argument(
        "--seeds",
        nargs="+",
        metavar="SEED",
        help=f"non-negative integers; the paper's are {' '.join(map(str, architectures.SEEDS))}",
    )
    study.add_argument("--methods", nargs="+", metavar="METHOD", help=", ".join(methods))
    study.add_argument(
        "--rates",
        default="backbone",
        help="learning rates: backbone (default; the "
        "backbone's own, chosen on development sets) or released (those of the paper's code)",
    )
    study.add_argument(
        "--epochs",
        default="20",
        metavar="N",
        help="passes over the training set (default: 20, as in the paper)",
    )
    where = parser.add_argument_group("where and how")
    where.add_argument(
        "--results",
        default="results",
        metavar="URI",
        help="folder, or URI such as "
        "s3://bucket/folder, where rows are kept and looked for (default: results)",
    )
    where.add_argument(
        "--cpus-per-trial",
        default="1",
        metavar="N",
        help="CPU cores and threads of one trial (default: 1)",
    )
    where.add_argument(
        "--gpus-per-trial",
        default="0",
        metavar="X",
        help="GPUs of one trial; 0.25 puts four trials on each GPU (default: 0)",
    )
    where.add_argument(
        "--max-concurrent", metavar="N", help="trials at once, at most (default: as many as fit)"
    )
    where.add_argument(
        "--address",
        help="address of a running Ray cluster, or auto (default: start Ray on this machine)",
    )
    where.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    what = parser.add_argument_group("what to print")
    what.add_argument(
        "--format", default="text", help=f"of the table: {', '.join(FORMATS)} (default: text)"
    )
    what.add_argument(
        "--plan",
        action="store_true",
        help="say what is done, runnable and blocked, and how long the rest may take; run nothing",
    )
    what.add_argument(
        "--no-run", action="store_true", help="table from the rows there are; run nothing"
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser  # fmt: skip


def main(
    description: str, methods: Sequence[str], make_table: TableMaker, arguments: Sequence[str]
) -> int:
    """Run a study from its command line and print its table; returns the exit status.

    0: the table is complete, or nothing was to be run. 1: some trials failed. 2: wrong usage.

    Args:
        description: of the study, for ``--help``.
        methods: the study's methods; ``--methods`` picks among them.
        make_table: (agenda, rows) -> the study's table.
        arguments: the command line, without the program's name.
    """
    parser = _parser(description, methods)
    options = parser.parse_args(arguments)
    try:
        return _run(options, methods, make_table)
    except UsageError as error:
        if options.debug:
            raise
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("\nstopped; finished trials are kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace, methods: Sequence[str], make_table: TableMaker) -> int:
    style = _one_of("format", options.format, FORMATS)
    resources = Resources(
        cpus_per_trial=_number(options, "cpus_per_trial", int, 1),
        gpus_per_trial=_number(options, "gpus_per_trial", float, 0),
        max_concurrent=_number(options, "max_concurrent", int, 1),
        address=options.address,
    )
    study = study_from(options, methods)
    study.check_data()
    store = Store(options.results)
    agenda = Agenda(study, store.read().select(AGENDA_COLUMNS).to_pylist())
    if options.retry_failed:
        agenda.forget_failures()
    if options.plan:
        print(_plan(agenda, resources))
        return 0
    if not options.no_run and not agenda.complete:
        if resources.address is None:
            # Ray of this machine alone listens on loopback only; ray reads this when imported.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from aa_ray import sweep

        sweep.run(agenda, store, resources)
    table = make_table(agenda, store.read().to_pylist())
    print(table.render(style), end="")
    return _closing(agenda, store, options)


def _closing(agenda: Agenda, store: Store, options: argparse.Namespace) -> int:
    """Where the rows are, and what failed; the exit status."""
    print(f"\nrows: {store.uri}/rows", file=sys.stderr)
    failures = agenda.failures()
    for cell, error in failures:
        print(f"failed: {cell}: {error}", file=sys.stderr)
    counts = agenda.counts()
    if counts["lost"]:
        print(f"not run, since a trial they wait for failed: {counts['lost']}", file=sys.stderr)
    if failures:
        print("run again with --retry-failed to try the failed ones anew", file=sys.stderr)
    return FAILED_WORK if failures and not options.no_run else 0


def _plan(agenda: Agenda, resources: Resources) -> str:
    """What is done, runnable and blocked, method by method, and the time the rest may take."""
    slots = resources.max_concurrent
    if slots is None:
        slots = resources.slots({"CPU": os.cpu_count() or 1, "GPU": float("inf")})
    left = agenda.seconds_left(slots)
    counts = agenda.counts()
    estimate = (
        "not known until the first trial of this backbone has finished"
        if left is None
        else f"about {duration(left)} with {slots} trials at once"
    )
    return "\n".join(
        [
            f"trials    {counts.total()}",
            f"done      {counts['finished']}",
            f"failed    {counts['failed']}",
            f"runnable  {counts['runnable']}",
            f"blocked   {counts['blocked']} (wait for an aa trial that selects their layers)",
            f"lost      {counts['lost']} (wait for an aa trial that failed)",
            f"time left {estimate}",
        ]
    )


def study_from(options: argparse.Namespace, methods: Sequence[str]) -> Study:
    """The study that the options describe.

    Raises:
        UsageError: a name that is not allowed, or a backbone that is not there.
    """
    preset = PRESETS[_one_of("preset", options.preset, PRESETS)]
    chosen = {name: getattr(options, name) or preset[name] for name in preset}
    for name, allowed in (("task", tasks.TASKS), ("regime", data.REGIMES)):
        for value in chosen[f"{name}s"]:
            _one_of(name, value, allowed)
    picked = options.methods or methods
    for value in picked:
        _one_of("method", value, methods)
    backbone = backbones.find(chosen["backbone"])
    rates = {"backbone": backbone.own_rates, "released": backbones.RELEASED_RATES}
    return Study(
        methods=_in_order(picked, methods),
        tasks=_in_order(chosen["tasks"], tasks.TASKS),
        regimes=_in_order(chosen["regimes"], data.REGIMES),
        seeds=tuple(dict.fromkeys(_seed(seed) for seed in chosen["seeds"])),
        backbone=backbone,
        source=Source.named(chosen["data"]),
        rates=rates[_one_of("rates", options.rates, rates)],
        epochs=_number(options, "epochs", int, 1),
    )


def _in_order(chosen: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The chosen names, each once, in the order of tables."""
    wanted = set(chosen)
    return tuple(name for name in allowed if name in wanted)


def _one_of(what: str, value: str, allowed: Iterable[str]) -> str:
    if value not in allowed:
        raise unknown(what, value, allowed)
    return value


def _seed(value: str | int) -> int:
    if not str(value).isascii() or not str(value).isdigit() or int(value) >= 2**32:
        raise UsageError(f"--seeds {value}: expected integers from 0 to 4294967295")
    return int(value)


def _number(options: argparse.Namespace, name: str, kind: type, least: float) -> Any:
    """The option as a finite number of that kind, not below ``least``; None where not given."""
    value = getattr(options, name)
    if value is None:
        return None
    try:
        number = kind(value)
    except ValueError:
        number = None
    if number is None or not least <= number < float("inf"):
        flag = "--" + name.replace("_", "-")
        words = "a whole number" if kind is int else "a number"
        raise UsageError(f"{flag} {value}: expected {words}, {least} or more")
    return number
