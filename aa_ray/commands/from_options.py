"""The study and the resources that options of the command line describe."""

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
    """What a trial asks for. The options are named like the fields of ``Resources``.

    Raises:
        UsageError: a tracker that is not there.
    """
    names = {field.name for field in dataclasses.fields(Resources)} - {"trackers", "cpu_fuse"}
    values = {name: getattr(options, name) for name in names}
    if options.fuse == BY_DEVICE:
        values |= {"fuse": None, "cpu_fuse": 1}
    return Resources(**values, trackers=trackers.check(options.track or ()))


def study_from(options: argparse.Namespace, methods: Sequence[str], backbone: str) -> Study:
    """The study that the options describe; ``backbone`` is that of presets that have none.

    Raises:
        UsageError: a name that is not allowed, or a backbone that is not there.
    """
    plugins.load(options.own or ())
    methods = (*methods, *(name for name in plugins.method_names() if name not in methods))
    known = (*methods, *(name for name in architectures.OTHERS if name not in methods))
    preset = {"backbone": backbone} | PRESETS[options.preset]
    if plugins.task_names():  # who brings a task wants to see it
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
    )


def study_of_one(options: argparse.Namespace) -> Study:
    """The study of the one trial that the options of ``add_trial`` describe.

    Backbone and data are those of the preset demo unless they are given.

    Raises:
        UsageError: see ``study_from``.
    """
    lists = {"tasks": [options.task], "regimes": [options.regime], "seeds": [[options.seed]],
             "methods": [options.method], "preset": "demo"}  # fmt: skip
    plugins.load(options.own or ())  # METHODS has their architectures too
    as_of_study = argparse.Namespace(**(vars(options) | lists))
    return study_from(as_of_study, tuple(architectures.METHODS), PAPER_BACKBONE)


def _source(name: str, results: str) -> Source:
    """The source that ``--data`` names; of ``rows`` the rows under ``results`` tell."""
    if name != glue.ROWS:
        return Source.named(name)
    from aa_ray.store.rows import Store  # with pyarrow, which wrong options need not wait for

    recorded: dict[str, str] = {}
    for row in Store(results).read(["task", "data_source"]).to_pylist():
        if recorded.setdefault(row["task"], row["data_source"]) != row["data_source"]:
            raise UsageError(
                f"--data rows: the rows of task {row['task']} come from several sources "
                f"({recorded[row['task']]}, {row['data_source']}); give the data itself"
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
    """Refuse seeds with which rates are tuned: their scores would be those of the best of many."""
    used = sorted(set(seeds) & set(tuning.seeds)) if tuning is not None else []
    if used:
        raise UsageError(
            f"--seeds {' '.join(map(str, used))}: rates are tuned with these seeds, so they cannot "
            "be used for anything else; choose others"
        )


def _without_conflict(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The pairs, of which no two give one setting different values.

    Raises:
        UsageError: two do.
    """
    values: dict[str, str] = {}
    for name, value in pairs:
        if values.setdefault(name, value) != value:
            raise UsageError(f"--set {name}={values[name]} {name}={value}: give it one value")
    return values.items()


def _settings(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The settings of ``--set``, the last one of each name, without those that are the default."""
    defaults = {deviation.name: deviation.default for deviation in DEVIATIONS.values()}
    return tuple((n, v) for n, v in sorted(dict(pairs).items()) if v != defaults.get(n))


def _read_by(backbone: Backbone, settings: dict[str, str]) -> Backbone:
    """The backbone, read by the pooling of the settings, if they have one; it is taken out."""
    pooling = settings.pop(POOLING.name, backbone.pooling)
    return dataclasses.replace(backbone, pooling=cast(Pooling, pooling))


def _in_order(names: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order of tables."""
    wanted = set(names)
    return tuple(name for name in allowed if name in wanted)
