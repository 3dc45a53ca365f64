"""``aa_ray.make_trial``: a single trial from the names of its method, task, backbone and data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from aa_ray.core import architectures, backbones, deviations
from aa_ray.core.architectures import FIRST_SEED, Layers
from aa_ray.core.backbones import MINILM, Rates
from aa_ray.core.deviations import POOLING
from aa_ray.data import glue, regimes, tasks
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.study.grid import PLAIN, Cell, Study, Variant
from aa_ray.trial import Pooling, Precision, Trial


def make_trial(
    method: str,
    task: str,
    regime: str = "100",
    seed: int = FIRST_SEED,
    *,
    backbone: str = MINILM,
    data: str = "embedded",
    selected: Sequence[Layers] = (),
    rates: Rates | None = None,
    epochs: int = 20,
    precision: Precision = "fp32",
    settings: Mapping[str, str] | None = None,
) -> Trial:
    """The trial that ``aa-ray run`` and any study would run for these names.

        from aa_ray import make_trial

        trial = make_trial("aa", "sst2", "100", seed=42)
        focused = make_trial("aa-focused-uni", "sst2", selected=[(0, 3, 5)])

    Args:
        method: a key of ``aa_ray.METHODS``.
        task: a GLUE task, as in nyu-mll/glue, or a custom one.
        regime: number of annotated examples, of which 75 % train, such as "100", or "full".
        seed: decides split, initial weights, order and dropout; 0 to 4294967295.
        backbone: ``minilm``, a model on the hub, or a folder with a BERT checkpoint.
        data: ``embedded`` (generated sentences), ``hub``, or a folder with
            <task>/train.parquet and <task>/validation.parquet.
        selected: for a method whose layers follow ``aa`` trials: the layers (0-based) that the
            switches of each of these trials selected, in the order of ``Method.needs``.
        rates: the learning rates; default those of the backbone.
        epochs: passes over the training set.
        precision: the number format of the frozen backbone.
        settings: name -> value of ``aa_ray.core.deviations.SETTINGS``: where paper and released
            code differ, and the pooling.

    Raises:
        UsageError: a name is unknown, the data or backbone does not exist, or ``selected`` does
            not match the method.
    """
    _check(method, task, regime, settings or {})
    changes = dict(settings or {})
    encoder = backbones.find(backbone)
    pooling = changes.pop(POOLING.name, encoder.pooling)  # also decides the backbone's rates
    encoder = dataclasses.replace(encoder, pooling=cast(Pooling, pooling))
    study = Study(
        methods=(method,),
        tasks=(task,),
        regimes=(regime,),
        seeds=(seed,),
        backbone=encoder,
        source=Source.named(data),
        rates=rates or encoder.own_rates,
        epochs=epochs,
        precision=precision,
        variants=(Variant(PLAIN, tuple(sorted(changes.items()))),),
    )
    for available in study.left_out.values():
        raise glue.too_large(regime, available)
    cell = Cell(method, task, regime, seed)
    needs = study.needs(cell)
    if len(selected) != len(needs):
        raise UsageError(
            f"{method} takes its layers from {len(needs)} aa trials, but selected has "
            f"{len(selected)}; give the layers that each of these selected: "
            f"{', '.join(map(str, needs)) or 'none'}"
        )
    return study.trial(cell, [tuple(layers) for layers in selected])


def _check(method: str, task: str, regime: str, settings: Mapping[str, str]) -> None:
    """Refuse unknown names."""
    architectures.get(method)
    tasks.get(task)
    regimes.get(regime)
    for name, value in settings.items():
        deviations.check(name, value)
