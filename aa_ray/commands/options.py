"""The options that every study and command shares; ``chosen`` is what they describe."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from aa_ray.core import architectures
from aa_ray.core.deviations import SETTINGS
from aa_ray.data import regimes, tasks
from aa_ray.errors import WRONG_USAGE
from aa_ray.report.tables import FORMATS
from aa_ray.sweep.trackers import TRACKERS, TRACKING

Formatter = argparse.RawDescriptionHelpFormatter  # keeps the line breaks of a docstring


class Parser(argparse.ArgumentParser):
    """The standard parser, with errors on one line."""

    def error(self, message: str) -> NoReturn:
        """One line instead of the whole usage."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


def parser(description: str, methods: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a study with those methods; values are checked later, by ``study_from``."""
    found = Parser(description=description, formatter_class=Formatter)
    _add_study(found.add_argument_group("what to run"), methods)
    _add_resources(found.add_argument_group("where and how"))
    _add_output(found.add_argument_group("what to print"))
    return found


def rows_parser(description: str, methods: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a study that looks at the rows there are, and runs nothing."""
    found = Parser(description=description, formatter_class=Formatter)
    _add_study(found.add_argument_group("which rows"), methods)
    add_results(found)
    found.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return found


def add_trial(found: argparse.ArgumentParser) -> None:
    """The options of a command about one trial; ``study_of_one`` reads them."""
    add = found.add_argument
    add("--task", required=True, help=", ".join(tasks.TASKS))
    add("--method", required=True, help=", ".join(architectures.METHODS))
    add("--regime", default="100", help="number of annotated examples, or full (default: 100)")
    first = architectures.FIRST_SEED
    add("--seed", default=str(first), help=f"a non-negative integer (default: {first})")
    _add_sources(found)
    _add_settings(found)
    add_results(found)
    add(
        "--cpus-per-trial",
        metavar="N",
        help="CPU threads (default: as many as a finished row was made with, else 1)",
    )
    add(
        "--depth",
        metavar="N",
        help="of adapter-drop, when its adapter is saved: with the adapters of the last N layers",
    )
    add("--debug", action="store_true", help="show the traceback of an error")


def add_format(group: Any) -> None:
    """The option for the format of a table."""
    group.add_argument(
        "--format", default="text", help=f"of the table: {', '.join(FORMATS)} (default: text)"
    )


def add_results(group: Any) -> None:
    group.add_argument(
        "--results",
        default="results",
        metavar="URI",
        help="folder, or URI such as "
        "s3://bucket/folder, where rows are kept and looked for (default: results)",
    )


def _add_study(group: Any, methods: Sequence[str]) -> None:
    add = group.add_argument
    add(
        "--preset",
        default="demo",
        help="demo (default; minutes on two cores), low-data, full or "
        "paper; the options below change single points of it",
    )
    _add_sources(group)
    add("--tasks", nargs="+", metavar="TASK", help=", ".join(tasks.TASKS))
    add(
        "--regimes",
        nargs="+",
        metavar="REGIME",
        help="numbers of annotated examples, or full (full runs the first seed only); the paper's "
        f"are {' '.join(regime.name for regime in regimes.PAPER)}",
    )
    add(
        "--seeds",
        nargs="+",
        metavar="SEED",
        help="non-negative integers, or ranges such as 100-119; the paper's are "
        f"{' '.join(map(str, architectures.SEEDS))}",
    )
    add("--methods", nargs="+", metavar="METHOD", help=", ".join(methods))
    _add_settings(group)


def _add_sources(group: Any) -> None:
    add = group.add_argument
    add(
        "--backbone",
        help="minilm, a model on the hub such as bert-large-uncased, or a folder "
        "with a BERT checkpoint",
    )
    add(
        "--data",
        help="embedded (generated sentences), hub (nyu-mll/glue), or a folder with "
        "<task>/train.parquet and <task>/validation.parquet; rows: whatever the rows in --results "
        "were made of, to look at them without it",
    )
    add(
        "--own",
        nargs="+",
        metavar="FILE",
        help="Python files that define tasks, architectures and activations of your own; see "
        "docs/own.md",
    )


def _add_settings(group: Any) -> None:
    add = group.add_argument
    add(
        "--rates",
        default="backbone",
        help="learning rates: backbone (default; the backbone's own, chosen on development sets), "
        "released (those of the paper's code), or a number for adapters and classifier with the "
        "released ones for the rest",
    )
    add(
        "--set",
        nargs="+",
        metavar="NAME=VALUE",
        help="where paper and released code differ: "
        + "; ".join(f"{s.name}={'|'.join(s.choices)}" for s in SETTINGS.values())
        + " (the first is the default)",
    )
    add(
        "--epochs",
        default="20",
        metavar="N",
        help="passes over the training set (default: 20, as in the paper)",
    )
    add(
        "--precision",
        default="fp32",
        help="of the frozen backbone: fp32 (default), bf16 (about twice as fast where the hardware "
        "has it), or tf32 (NVIDIA GPUs only); part of a trial, so results are not mixed",
    )


def _add_resources(group: Any) -> None:
    add = group.add_argument
    add_results(group)
    add(
        "--cpus-per-trial",
        default="1",
        metavar="N",
        help="CPU cores and threads of one trial (default: 1)",
    )
    add(
        "--gpus-per-trial",
        default="0",
        metavar="X",
        help="GPUs of one trial (of one array with --fuse); 0.25 puts four on each GPU; auto: what "
        "the backbone needs, by its shape and by measured trials (default: 0)",
    )
    add(
        "--max-concurrent",
        metavar="N",
        help="trials at once, at most (default: as many as fit, on the head of a cluster that ray "
        "up started as many as fit once it has grown)",
    )
    add(
        "--address",
        help="of a running Ray cluster, host:port or auto (default: start Ray on this machine)",
    )
    add(
        "--fuse",
        default="1",
        metavar="K",
        help="trials of a task and regime that train side by side on one copy of the backbone, at "
        "most; auto: as many as pay, fit into memory, and leave no slot idle (default: 1)",
    )
    add(
        "--stall-seconds",
        default="1800",
        metavar="S",
        help="end and continue a trial in which nothing has happened for so long (default: 1800)",
    )
    add("--retry-failed", action="store_true", help="run failed trials again")
    add(
        "--track",
        nargs="+",
        metavar="TOOL",
        help=f"also send learning curves to {', '.join(TRACKERS)} (files go to {TRACKING}/ unless "
        "the tool's own environment variables say otherwise)",
    )
    add(
        "--dashboard",
        action="store_true",
        help="start Ray's dashboard, on the loopback address, and print where it is",
    )


def _add_output(group: Any) -> None:
    add = group.add_argument
    add_format(group)
    add(
        "--plan",
        action="store_true",
        help="say what is done, runnable and blocked, and how long the rest may take; run nothing",
    )
    add(
        "--gpus",
        metavar="N",
        help="with --plan: time and GPU-hours on a cluster with so many GPUs, from measured trials",
    )
    add("--no-run", action="store_true", help="table from the rows there are; run nothing")
    add("--debug", action="store_true", help="show the traceback of an error")
