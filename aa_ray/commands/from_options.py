"""The study and the resources that options of the command line describe, checked."""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, cast

from aa_ray.core import architectures, backbones, deviations
from aa_ray.core.backbones import Backbone, Rates
from aa_ray.core.deviations import DEVIATIONS, POOLING
from aa_ray.data import glue, regimes, tasks
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError, unknown
from aa_ray.store.rows import Store
from aa_ray.study import plugins
from aa_ray.study.grid import PLAIN, Study, Variant
from aa_ray.sweep import trackers
from aa_ray.sweep.resources import Resources
from aa_ray.trial import PRECISIONS, Pooling, Precision

# A longer range of seeds is a typing error.
MOST_SEEDS = 10_000

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
        "regimes": tuple(regime.name for regime in regimes.LOW_DATA),
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
        "regimes": tuple(regime.name for regime in regimes.PAPER),
        "seeds": architectures.SEEDS,
    },
}


def resources_from(options: argparse.Namespace) -> Resources:
    """What a trial asks for, as the options say.

    Raises:
        UsageError: a number that is none, or too small; a tracker that is not there.
    """
    return Resources(
        cpus_per_trial=number(options, "cpus_per_trial", int, 1),
        gpus_per_trial=number_or_auto(options, "gpus_per_trial", float, 0),
        max_concurrent=number(options, "max_concurrent", int, 1),
        fuse=number_or_auto(options, "fuse", int, 1),
        stall_seconds=number(options, "stall_seconds", float, 1),
        address=options.address,
        dashboard=options.dashboard,
        trackers=trackers.check(options.track or ()),
    )


def study_from(options: argparse.Namespace, methods: Sequence[str], backbone: str) -> Study:
    """The study that the options describe; ``backbone`` is that of presets that have none.

    Raises:
        UsageError: a name that is not allowed, or a backbone that is not there.
    """
    plugins.load(options.own or ())
    methods = (*methods, *(name for name in plugins.method_names() if name not in methods))
    preset = PRESETS[one_of("preset", options.preset, PRESETS)]
    preset = {"backbone": backbone} | preset
    if plugins.task_names():  # who brings a task wants to see it
        preset["tasks"] = plugins.task_names()
    chosen = {name: getattr(options, name) or preset[name] for name in preset}
    for value in chosen["tasks"]:
        one_of("task", value, tasks.TASKS)
    by_size = sorted(set(map(regimes.get, chosen["regimes"])), key=lambda regime: regime.order)
    picked = options.methods or methods
    for value in picked:
        one_of("method", value, methods)
    settings = dict(_settings(options.set or ()))
    found = _read_by(backbones.find(chosen["backbone"]), settings)
    return Study(
        methods=_in_order(picked, methods),
        tasks=_in_order(chosen["tasks"], tasks.TASKS),
        regimes=tuple(regime.name for regime in by_size),
        seeds=tuple(dict.fromkeys(seed for text in chosen["seeds"] for seed in _seeds(text))),
        backbone=found,
        source=_source(chosen["data"], options.results),
        rates=_rates(options.rates, found),
        epochs=number(options, "epochs", int, 1),
        precision=cast(Precision, one_of("precision", options.precision, PRECISIONS)),
        variants=(Variant(PLAIN, tuple(settings.items())),),
    )


def study_of_one(options: argparse.Namespace) -> Study:
    """The study of the one trial that the options of ``add_trial`` describe.

    Backbone and data are those of the preset demo unless they are given.

    Raises:
        UsageError: see ``study_from``.
    """
    _seed(options.seed, "--seed")
    plugins.load(options.own or ())
    many = {"tasks": [options.task], "regimes": [options.regime], "seeds": [options.seed],
            "methods": [options.method], "preset": "demo"}  # fmt: skip
    given = argparse.Namespace(**(vars(options) | many))
    return study_from(given, tuple(architectures.METHODS), PAPER_BACKBONE)


def _source(name: str, results: str) -> Source:
    """The source that ``--data`` names; of ``rows`` the rows under ``results`` tell."""
    if name != glue.ROWS:
        return Source.named(name)
    found: dict[str, str] = {}
    for row in Store(results).read(["task", "data_source"]).to_pylist():
        if found.setdefault(row["task"], row["data_source"]) != row["data_source"]:
            raise UsageError(
                f"--data rows: the rows of task {row['task']} come from several sources "
                f"({found[row['task']]}, {row['data_source']}); give the data itself"
            )
    return Source(glue.ROWS, tuple(sorted(found.items())))


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
    defaults = {deviation.name: deviation.default for deviation in DEVIATIONS.values()}
    return tuple((n, v) for n, v in sorted(settings.items()) if v != defaults.get(n))


def _read_by(backbone: Backbone, settings: dict[str, str]) -> Backbone:
    """The backbone, read by the pooling of the settings, if they have one; it is taken out."""
    pooling = settings.pop(POOLING.name, backbone.pooling)
    return dataclasses.replace(backbone, pooling=cast(Pooling, pooling))


def _in_order(chosen: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The chosen names, each once, in the order of tables."""
    wanted = set(chosen)
    return tuple(name for name in allowed if name in wanted)


def one_of(what: str, value: str, allowed: Iterable[str]) -> str:
    """The value, which must be among the allowed ones."""
    if value not in allowed:
        raise unknown(what, value, allowed)
    return value


def _seeds(text: str | int) -> Iterable[int]:
    """The seed, or the seeds of a range such as 100-119."""
    first, dash, last = str(text).partition("-")
    if not (dash and first):
        return [_seed(text)]
    start, stop = _seed(first), _seed(last)
    if not start <= stop < start + MOST_SEEDS:
        raise UsageError(f"--seeds {text}: expected a range of 1 to {MOST_SEEDS} seeds")
    return range(start, stop + 1)


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
