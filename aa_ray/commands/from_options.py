"""Makes the study and the resources from the options of the command line."""

import argparse
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import cast

from aa_ray.commands.options import BY_DEVICE
from aa_ray.commands.presets import PAPER_BACKBONE, PRESETS
from aa_ray.commands.values import check_name
from aa_ray.core import architectures, backbones
from aa_ray.core.backbones import Backbone, Rates
from aa_ray.core.deviations import DEVIATIONS, POOLING
from aa_ray.data import glue, regimes, tasks
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.study import plugins
from aa_ray.study.grid import PLAIN, Study, Variant
from aa_ray.study.tuning import Tuning
from aa_ray.sweep import trackers
from aa_ray.sweep.resources import Resources
from aa_ray.trial import Pooling


def resources_from(options: argparse.Namespace) -> Resources:
    """The resources of a trial. The options are named like the fields of ``Resources``.

    Raises:
        UsageError: a tracker is not available.
    """
    names = {field.name for field in dataclasses.fields(Resources)} - {"trackers", "cpu_fuse"}
    values = {name: getattr(options, name) for name in names}
    if options.fuse == BY_DEVICE:
        values |= {"fuse": None, "cpu_fuse": 1}
    return Resources(**values, trackers=trackers.check(options.track or ()))


def study_from(options: argparse.Namespace, methods: Sequence[str], backbone: str) -> Study:
    """The study that the options describe; ``backbone`` is for presets without one.

    Raises:
        UsageError: a name is not allowed, or the backbone is not available.
    """
    plugins.load(options.own or ())
    methods = (*methods, *(name for name in plugins.method_names() if name not in methods))
    known = (*methods, *(name for name in architectures.OTHERS if name not in methods))
    preset = {"backbone": backbone} | PRESETS[options.preset]
    if plugins.task_names():  # run custom tasks by default
        preset["tasks"] = plugins.task_names()
    values = {name: getattr(options, name) or preset[name] for name in preset}
    by_size = sorted(set(map(regimes.get, values["regimes"])), key=lambda regime: regime.order)
    wanted = options.methods or methods
    for name in values["tasks"]:
        check_name("task", name, tasks.TASKS)
    for name in wanted:
        check_name("method", name, known)
    settings = dict(_settings(_without_conflict(options.set or ())))
    encoder = _read_by(backbones.find(values["backbone"]), settings)
    tuned = Tuning.with_budget(options.tuning_budget) if options.rates == "tuned" else None
    seeds = tuple(dict.fromkeys(itertools.chain.from_iterable(values["seeds"])))
    _check_seeds(seeds, tuned)
    return Study(
        methods=_in_order(wanted, known),
        tasks=_in_order(values["tasks"], tasks.TASKS),
        regimes=tuple(regime.name for regime in by_size),
        seeds=seeds,
        backbone=encoder,
        source=_source(values["data"], options.results),
        rates=_rates(options.rates, encoder),
        epochs=options.epochs,
        precision=options.precision,
        variants=(Variant(PLAIN, tuple(settings.items())),),
        tuning=tuned,
        last_n=options.last_n,
        full_seeds=options.full_seeds,
    )


def study_of_one(options: argparse.Namespace) -> Study:
    """A study of the single trial that the options of ``add_trial`` describe.

    Backbone and data default to those of the preset demo.

    Raises:
        UsageError: see ``study_from``.
    """
    lists = {"tasks": [options.task], "regimes": [options.regime], "seeds": [[options.seed]],
             "methods": [options.method], "preset": "demo", "full_seeds": 1}  # fmt: skip
    plugins.load(options.own or ())  # adds custom architectures to METHODS
    as_of_study = argparse.Namespace(**(vars(options) | lists))
    return study_from(as_of_study, tuple(architectures.METHODS), PAPER_BACKBONE)


def _source(name: str, results: str) -> Source:
    """The source that ``--data`` names; for ``rows`` it is read from the rows in ``results``."""
    if name != glue.ROWS:
        return Source.named(name)
    from aa_ray.store.rows import Store  # imports pyarrow; wrong options need not wait for it

    recorded: dict[str, str] = {}
    for row in Store(results).read(["task", "data_source"]).to_pylist():
        if recorded.setdefault(row["task"], row["data_source"]) != row["data_source"]:
            raise UsageError(
                f"--data rows: the rows of task {row['task']} come from several sources "
                f"({recorded[row['task']]}, {row['data_source']}); name the data with --data"
            )
    return Source(glue.ROWS, tuple(sorted(recorded.items())))


def _rates(value: str | float, backbone: Backbone) -> Rates:
    """The learning rates that ``--rates`` names."""
    if value == "backbone":
        return backbone.own_rates
    if value in ("released", "tuned"):
        return backbones.RELEASED_RATES
    return dataclasses.replace(backbones.RELEASED_RATES, adapter=float(value))


def _check_seeds(seeds: Iterable[int], tuning: Tuning | None) -> None:
    """Refuse the tuning seeds, whose scores are biased: the best of several was selected."""
    used = sorted(set(seeds) & set(tuning.seeds)) if tuning is not None else []
    if used:
        raise UsageError(
            f"--seeds {' '.join(map(str, used))}: rates are tuned with these seeds, so they cannot "
            "be used for anything else; choose other seeds"
        )


def _without_conflict(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The pairs, checked for two different values of the same setting.

    Raises:
        UsageError: a setting has two values.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if values.setdefault(name, value) != value:
            raise UsageError(f"--set {name}={values[name]} {name}={value}: give it one value")
    return values.items()


def _settings(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The settings of ``--set``: the last value of each name, without defaults."""
    defaults = {deviation.name: deviation.default for deviation in DEVIATIONS.values()}
    return tuple((n, v) for n, v in sorted(dict(pairs).items()) if v != defaults.get(n))


def _read_by(backbone: Backbone, settings: dict[str, str]) -> Backbone:
    """The backbone with the pooling that the settings name, which is removed from them."""
    pooling = settings.pop(POOLING.name, backbone.pooling)
    return dataclasses.replace(backbone, pooling=cast(Pooling, pooling))


def _in_order(names: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The names without duplicates, in the order of tables."""
    wanted = set(names)
    return tuple(name for name in allowed if name in wanted)
