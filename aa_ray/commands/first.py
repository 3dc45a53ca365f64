"""Suggests the commands that make the rows which another command needs."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Sequence

from aa_ray.core import architectures
from aa_ray.data import glue
from aa_ray.errors import UsageError

# The studies that train, and their methods.
_TRAINING = {
    "table2": architectures.TABLE2,
    "table3": architectures.TABLE3,
    "table4": architectures.TABLE4,
    "controls": architectures.CONTROLS,
    "step_size": architectures.STEP_SIZE,
    "fidelity": architectures.FIDELITY,
    "appendix_a": architectures.TABLE2,
}
_TABLES = ("table2", "table3", "table4")
# Command that only reads rows -> the studies that make them. All other commands read those of Table
# 2.
_MAKING = {
    "claims": _TABLES,
    "cells": _TABLES,
    "policies": _TABLES,
    "contrasts": ("controls",),
    "plot_tuning": ("controls",),
    "plot_step_size": ("step_size",),
}


def no_rows(
    parsed: argparse.Namespace, methods: Sequence[str], rates: Iterable[str] = ()
) -> UsageError:
    """The error for a study that has not been run.

    Args:
        parsed: the options; ``arguments`` is the command line that they came from.
        methods: the methods that the command shows.
        rates: the policies without rows; empty for the policy of the options.
    """
    policies: list[str | None] = [*rates]
    lines = [
        command
        for policy in policies or [None]
        for command in commands(parsed.arguments, parsed.methods or methods, policy)
    ]
    return UsageError(
        f"--results {parsed.results}: no rows of this study; run it first: {' && '.join(lines)}"
    )


def commands(
    arguments: Sequence[str], methods: Iterable[str] | None = None, rates: str | None = None
) -> list[str]:
    """The command lines that make the rows which this process was asked to show.

    They have the same form as this process's command: scripts, or ``aa-ray``.

    Args:
        arguments: the command line, without the program's name.
        methods: the methods whose rows are missing; None for all of the study's.
        rates: the rates to use instead of those in ``arguments``.
    """
    options, picked = _kept(arguments, rates)
    name = _study()
    if name in _TRAINING:
        return [_command(name, [*options, *(["--methods", *picked] if picked else [])])]
    wanted = list(picked or methods or ())
    lines: list[str] = []
    for study in _MAKING.get(name, ("table2",)):
        own = _TRAINING[study]
        others = [m for m in wanted if m not in architectures.EVERY_STUDY]
        shared = [m for m in own if m in wanted]
        if picked and not lines:
            shared += others
        if shared:
            limited = ["--methods", *shared] if picked and set(shared) != set(own) else []
            lines.append(_command(study, [*options, *limited]))
            wanted = [m for m in wanted if m not in shared]
    return lines or [_command("table2", options)]


def _kept(arguments: Sequence[str], rates: str | None) -> tuple[list[str], list[str]]:
    """The options that select trials, without ``--methods``; and the methods."""
    shown = argparse.ArgumentParser(add_help=False)
    for option in ("--format", "--output", "--margin", "--against"):
        shown.add_argument(option)
    for option in ("--no-run", "--all-columns", "--debug"):
        shown.add_argument(option, action="store_true")
    shown.add_argument("--methods", nargs="+", default=[])
    shown.add_argument("--data")
    if rates is not None:
        shown.add_argument("--rates")
    known, options = shown.parse_known_args(arguments)
    if known.data is not None:  # rows hold no examples to train on
        options += ["--data", "DIR" if known.data == glue.ROWS else known.data]
    return [*options, *(["--rates", str(rates)] if rates is not None else [])], known.methods


def _study() -> str:
    """The study that this process was asked to run, by its script's name."""
    last = sys.argv[0].split(" ")[-1]
    return os.path.basename(last).removesuffix(".py").replace("-", "_")


def _command(study: str, options: Sequence[str]) -> str:
    """The command line of a study, in the form in which this process was started."""
    if sys.argv[0].endswith(".py"):
        words = ["python", os.path.join(os.path.dirname(sys.argv[0]), f"{study}.py")]
    else:
        words = ["aa-ray", study.replace("_", "-")]
    return shlex.join([*words, *options])
