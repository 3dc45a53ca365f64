"""The method in your own model: add adaptable adapters, read which layers they select, keep those.

The functions work on any model with AdapterHub's adapters, whatever its architecture.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from adapters import AdapterConfig, ConfigUnion, SeqBnConfig
from adapters.methods.bottleneck import BottleneckLayer
from torch import nn

from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.adapter import Switch, bottleneck_layers, check_model
from aa_ray.errors import AdapterError, UsageError


def add_adapter(model: Any, name: str, config: AdapterConfig | None = None, **options: Any) -> None:
    """Add an adaptable adapter to a model: AdapterHub's ``add_adapter`` with checks.

        aa_ray.add_adapter(model, "sst2", aa_ray.AdaptableConfig(layers=[8, 9, 10, 11]))
        model.train_adapter("sst2")

    ``model.add_adapter(name, config=config)`` does the same, but silently ignores layers that the
    model does not have.

    Args:
        model: an AdapterHub model, or a transformers model after ``adapters.init(model)``.
        config: default ``AdaptableConfig()``. Any other AdapterHub configuration works too, such
            as a ``ConfigUnion`` of an ``AdaptableConfig`` and LoRA.
        options: AdapterHub's ``overwrite_ok`` and ``set_active``.

    Raises:
        AdapterError: a model without AdapterHub's hooks, layers that the model does not have,
            or switches on layers that share their weights.
    """
    check_model(model)
    config = AdaptableConfig() if config is None else config
    count = sum(1 for _ in model.iter_layers())
    for part in _parts(config):
        if isinstance(part, AdaptableConfig) and part.layers != "all":
            beyond = [layer for layer in part.layers if layer >= count]
            if beyond:
                raise AdapterError(
                    f"the model has {count} layers, counted from 0, and the configuration names "
                    f"layer {beyond[0]}"
                )
    model.add_adapter(name, config=config, **options)


def selected_layers(model: Any, name: str) -> list[int]:
    """The layers in which the adapter is used in evaluation, ascending and counted from 0.

    With switches, these are the layers whose adapter logit is strictly larger than the identity
    logit. Without switches, these are all layers with an adapter.

        aa_ray.selected_layers(model, "sst2")  # [3, 7, 8, 11]

    Args:
        model: any AdapterHub model.
        name: name of a bottleneck adapter.

    Raises:
        UsageError: the model has no adapter of that name.
    """
    layers = bottleneck_layers(model, name)
    return sorted({layer.layer_idx for layer in layers if _selected(layer, name)})


def focus(model: Any, name: str, exact: bool = False) -> list[int]:
    """Keep only the adapters of the selected layers, as plain AdapterHub bottlenecks.

    The weights stay the same parameters. Afterwards only the activation comes from aa_ray: an
    adapter with one of AdapterHub's activations loads without aa_ray, one with a rational needs
    ``import aa_ray``.

        aa_ray.focus(model, "sst2")
        model.save_adapter("out", "sst2")

    Where a switch chose the identity, the released code computes LN(LN(h+i) + h + i), which differs
    from a layer without adapter (D2). So the predictions change, a warning says so, and the
    adapters are usually trained again, as in AA-focused. ``exact`` keeps the predictions: such a
    layer gets a linear full-width bottleneck with identity matrices, which adds 2 H (H + 1)
    parameters for hidden size H. With ``switch_identity="plain"`` predictions never change, and
    ``exact`` has no effect.

    Args:
        model: any AdapterHub model.
        name: name of an adapter that was added with an ``AdaptableConfig``.
        exact: whether to keep the predictions.

    Returns:
        The selected layers.

    Raises:
        UsageError: no such adapter, one of another configuration, or one without the skip
            connection that AdapterHub's bottlenecks always have (D1).
    """
    selected = selected_layers(model, name)
    adaptable = _adaptable_part(model, name)
    if adaptable.switched and adaptable.switch_skip == "no" and selected:
        raise AdapterError(
            "with switch_skip='no' an adapter has no skip connection, and AdapterHub's bottleneck "
            "always has one, so it cannot be a plain adapter"
        )
    layers = bottleneck_layers(model, name)
    off = [layer.layer_idx for layer in layers if layer.layer_idx not in selected]
    identities = off if adaptable.switch_identity == "released" else []
    if identities and not exact:
        warnings.warn(
            f"layers {', '.join(map(str, identities))} of {name!r} lose LN(LN(h+i) + h + i), which "
            "they compute with switch_identity='released': predictions change; train the adapter "
            "again, or pass exact=True",
            stacklevel=2,
        )
    identities = identities if exact else []
    _replace_config(model, name, adaptable, selected, identities)
    with torch.random.fork_rng(devices=[]):  # AdapterHub draws weights, which are overwritten
        for layer in layers:
            _make_plain(layer, name, layer.layer_idx in identities)
    return selected


def _selected(layer: BottleneckLayer, name: str) -> bool:
    switch: Switch | None = getattr(layer.adapters[name], "switch", None)
    return switch is None or switch.selected


def _parts(config: AdapterConfig) -> tuple[AdapterConfig, ...]:
    return tuple(config.configs) if isinstance(config, ConfigUnion) else (config,)


def _adaptable_part(model: Any, name: str) -> AdaptableConfig:
    parts = _parts(AdapterConfig.load(model.adapters_config.get(name)))
    adaptable = [part for part in parts if isinstance(part, AdaptableConfig)]
    if not adaptable:
        raise UsageError(
            f"adapter {name!r} has no AdaptableConfig, so there is nothing to focus on; add it "
            "with aa_ray.add_adapter"
        )
    return adaptable[0]


def _replace_config(
    model: Any,
    name: str,
    adaptable: AdaptableConfig,
    selected: list[int],
    identities: list[int],
) -> None:
    """Update AdapterHub's configuration of the adapter."""
    numbers = [number for number, _ in model.iter_layers()]

    def all_but(layers: Iterable[int]) -> list[int]:
        return [number for number in numbers if number not in layers]

    plain = []
    if identities:
        plain.append(
            SeqBnConfig(reduction_factor=1, non_linearity="linear", leave_out=all_but(identities))
        )
    if selected or not identities:
        plain.append(adaptable.plain(leave_out=all_but(selected)))
    config = AdapterConfig.load(model.adapters_config.get(name))
    parts = [
        new
        for part in _parts(config)
        for new in (plain if isinstance(part, AdaptableConfig) else [part])
    ]
    del model.adapters_config.adapters[name]
    model.adapters_config.add(name, parts[0] if len(parts) == 1 else ConfigUnion(*parts))


def _make_plain(layer: BottleneckLayer, name: str, identity: bool) -> None:
    """Replace the layer's adapter by the plain one that the new configuration describes."""
    old = layer.adapters[name]
    layer.delete_adapter(name)
    if not layer.add_adapter(name, layer.layer_idx):
        return
    new = layer.adapters[name]
    first = next(old.parameters())
    new.to(first.device, first.dtype).train(old.training)
    if identity:
        for linear in (new.adapter_down[0], new.adapter_up):
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
        new.requires_grad_(False)  # it replaces a computation without parameters
        return
    named = old.named_parameters(remove_duplicate=False)  # the activation has two names
    kept = {key: value for key, value in named if not key.startswith("switch.")}
    trained = {key: value.requires_grad for key, value in kept.items()}
    new.load_state_dict(kept, assign=True)
    for key, value in new.named_parameters():
        value.requires_grad_(trained[key])
