"""The options that every study shares, and the study and resources that they describe."""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, cast

from aa_ray import architectures, backbones, data, deviations, own, tasks
from aa_ray.backbones import Backbone, Rates
from aa_ray.data import Source
from aa_ray.deviations import DEVIATIONS
from aa_ray.errors import WRONG_USAGE, UsageError, unknown
from aa_ray.resources import Resources
from aa_ray.study import PLAIN, Study
from aa_ray.tables import FORMATS
from aa_ray.trial import PRECISIONS, Precision

# Of the paper's Tables 2 to 4.
PAPER_BACKBONE = "bert-large-uncased"

# What a preset sets; an option of the command line wins over it. Where a preset has no backbone,
# it is the study's: the paper's BERT-large, or BERT-base in its Appendix A.
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "backbone": backbones.MINILM,
        "data": "embedded",
        "tasks": ("qqp", "sst2", "cola"),
        "regimes": ("100",),
        "seeds": architectures.SEEDS[:2],
    },
    "low-data": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": ("100", "300", "500"),
        "seeds": architectures.SEEDS,
    },
    "full": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": ("full",),
        "seeds": architectures.SEEDS,
    },
    "paper": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": tuple(data.REGIMES),
        "seeds": architectures.SEEDS,
    },
}


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
    _add_results(found)
    found.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return found


def add_trial(found: argparse.ArgumentParser) -> None:
    """The options of a command about one trial; ``study_of_one`` reads them."""
    add = found.add_argument
    add("--task", required=True, help=", ".join(tasks.TASKS))
    add("--method", required=True, help=", ".join(architectures.METHODS))
    add("--regime", default="100", help=f"annotated examples: {', '.join(data.REGIMES)} "
        "(default: 100)")  # fmt: skip
    first = architectures.FIRST_SEED
    add("--seed", default=str(first), help=f"a non-negative integer (default: {first})")
    _add_sources(found)
    _add_settings(found)
    _add_results(found)
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


def _add_results(group: Any) -> None:
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
        help=f"annotated examples: {', '.join(data.REGIMES)} (full runs the first seed only)",
    )
    add(
        "--seeds",
        nargs="+",
        metavar="SEED",
        help=f"non-negative integers; the paper's are {' '.join(map(str, architectures.SEEDS))}",
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
        "<task>/train.parquet and <task>/validation.parquet",
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
        + "; ".join(f"{d.name}={'|'.join(d.choices)}" for d in DEVIATIONS.values())
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
    _add_results(group)
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


def resources_from(options: argparse.Namespace) -> Resources:
    """What a trial asks for, as the options say.

    Raises:
        UsageError: a number that is none, or too small.
    """
    return Resources(
        cpus_per_trial=number(options, "cpus_per_trial", int, 1),
        gpus_per_trial=number_or_auto(options, "gpus_per_trial", float, 0),
        max_concurrent=number(options, "max_concurrent", int, 1),
        fuse=number_or_auto(options, "fuse", int, 1),
        stall_seconds=number(options, "stall_seconds", float, 1),
        address=options.address,
    )


def study_from(options: argparse.Namespace, methods: Sequence[str], backbone: str) -> Study:
    """The study that the options describe; ``backbone`` is that of presets that have none.

    Raises:
        UsageError: a name that is not allowed, or a backbone that is not there.
    """
    own.load(options.own or ())
    methods = (*methods, *(name for name in own.method_names() if name not in methods))
    preset = PRESETS[one_of("preset", options.preset, PRESETS)]
    preset = {"backbone": backbone} | preset
    if own.task_names():  # who brings a task wants to see it
        preset["tasks"] = own.task_names()
    chosen = {name: getattr(options, name) or preset[name] for name in preset}
    for name, allowed in (("task", tasks.TASKS), ("regime", data.REGIMES)):
        for value in chosen[f"{name}s"]:
            one_of(name, value, allowed)
    picked = options.methods or methods
    for value in picked:
        one_of("method", value, methods)
    found = backbones.find(chosen["backbone"])
    return Study(
        methods=_in_order(picked, methods),
        tasks=_in_order(chosen["tasks"], tasks.TASKS),
        regimes=_in_order(chosen["regimes"], data.REGIMES),
        seeds=tuple(dict.fromkeys(_seed(seed) for seed in chosen["seeds"])),
        backbone=found,
        source=Source.named(chosen["data"]),
        rates=_rates(options.rates, found),
        epochs=number(options, "epochs", int, 1),
        precision=cast(Precision, one_of("precision", options.precision, PRECISIONS)),
        variants=((PLAIN, _settings(options.set or ())),),
    )


def study_of_one(options: argparse.Namespace) -> Study:
    """The study of the one trial that the options of ``add_trial`` describe.

    Backbone and data are those of the preset demo unless they are given.

    Raises:
        UsageError: see ``study_from``.
    """
    _seed(options.seed, "--seed")
    own.load(options.own or ())
    many = {"tasks": [options.task], "regimes": [options.regime], "seeds": [options.seed],
            "methods": [options.method], "preset": "demo"}  # fmt: skip
    given = argparse.Namespace(**(vars(options) | many))
    return study_from(given, tuple(architectures.METHODS), PAPER_BACKBONE)


def _rates(value: str, backbone: Backbone) -> Rates:
    """The learning rates that ``--rates`` names."""
    named = {"backbone": backbone.own_rates, "released": backbones.RELEASED_RATES}
    if value in named:
        return named[value]
    try:
        rate = float(value)
    except ValueError:
        raise unknown("rates", value, [*named, "a number"]) from None
    if not 0 < rate < float("inf"):
        raise UsageError(f"--rates {value}: expected a number above 0")
    return dataclasses.replace(backbones.RELEASED_RATES, adapter=rate)


def _settings(chosen: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The settings of ``--set``, checked, without those that are the default anyway."""
    settings = {}
    for text in chosen:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected NAME=VALUE, such as denominator=B")
        deviations.check(name, value)
        settings[name] = value
    return tuple((n, v) for n, v in sorted(settings.items()) if v != DEVIATIONS[n].default)


def _in_order(chosen: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The chosen names, each once, in the order of tables."""
    wanted = set(chosen)
    return tuple(name for name in allowed if name in wanted)


def one_of(what: str, value: str, allowed: Iterable[str]) -> str:
    """The value, which must be among the allowed ones."""
    if value not in allowed:
        raise unknown(what, value, allowed)
    return value


def _seed(value: str | int, option: str = "--seeds") -> int:
    if not str(value).isascii() or not str(value).isdigit() or int(value) >= 2**32:
        raise UsageError(f"{option} {value}: expected integers from 0 to 4294967295")
    return int(value)


def number(options: argparse.Namespace, name: str, kind: type, least: float) -> Any:
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


def number_or_auto(options: argparse.Namespace, name: str, kind: type, least: float) -> Any:
    """As ``number``, but None for the word auto."""
    return None if getattr(options, name) == "auto" else number(options, name, kind, least)
