"""Adds adaptable adapters to AdapterHub's bottleneck layers, and checks where they may be.

``aa_ray.core.registration`` calls these functions instead of, or before, two AdapterHub methods.
"""

from collections.abc import Callable
from typing import Any, cast

from adapters import BnConfig
from adapters.composition import AdapterCompositionBlock, Fuse, Stack
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import Adapter
from torch import Tensor

from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.adapter import Identity, SwitchSettings, make_layer_adaptable
from aa_ray.errors import AdapterError


def add_adapter(
    layer: BottleneckLayer,
    name: str,
    layer_idx: int,
    original: Callable[[BottleneckLayer, str, int], bool],
) -> bool:
    """``BottleneckLayer.add_adapter`` for any configuration; ``original`` is AdapterHub's.

    Returns:
        Whether the layer now has an adapter of that name.

    Raises:
        AdapterError: several layers of the model would share one switch.
    """
    config = layer.adapters_config.match(name, BnConfig, layer_idx, layer.location_key)
    adaptable = config if isinstance(config, AdaptableConfig) else None
    if adaptable and not adaptable.has_adapter(layer_idx):
        layer.layer_idx = layer_idx  # as AdapterHub does for a layer in leave_out
        return False
    switched = adaptable is not None and adaptable.switched
    if switched and shares_layers(layer.model_config):
        model = layer.model_config
        raise AdapterError(
            f"{model.model_type} computes {model.num_hidden_layers} layers with the weights of "
            f"{model.num_hidden_groups}, but each switch needs its own layer; set switched=False"
        )
    if not original(layer, name, layer_idx):
        return False
    if adaptable is not None and switched:
        make_layer_adaptable(layer, name, switch_settings(adaptable))
    save_activation_once(layer.adapters[name])
    return True


def shares_layers(model_config: Any) -> bool:
    """Whether layers of the model share weights, as in ALBERT."""
    groups = getattr(model_config, "num_hidden_groups", None)
    return groups is not None and groups < model_config.num_hidden_layers


def switch_settings(config: AdaptableConfig) -> SwitchSettings | None:
    """The switch settings of the configuration's adapters; None without switches."""
    if not config.switched:
        return None
    identity = cast(Identity, config.switch_identity)
    return SwitchSettings(config.temperature, config.switch_skip == "yes", identity)


# The two names under which AdapterHub's bottleneck holds its activation.
_ACTIVATION, _SEQUENCE = "non_linearity.", "adapter_down."


def save_activation_once(adapter: Adapter) -> None:
    """Save the activation's parameters under one of their two names only.

    AdapterHub registers the activation twice, since its own activations have no parameters, and
    safetensors refuses tensors with two names. Saved states with both names can still be loaded.
    """
    if any(True for _ in adapter.non_linearity.parameters()):
        adapter.register_state_dict_post_hook(_drop_second_names)
        adapter.register_load_state_dict_pre_hook(_add_second_names)


def _drop_second_names(adapter: Adapter, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
    for name in [name for name in state if name.startswith(prefix + _ACTIVATION)]:
        del state[name]


def _add_second_names(adapter: Adapter, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
    place = list(adapter.adapter_down).index(adapter.non_linearity)
    first = f"{prefix}{_SEQUENCE}{place}."
    for name in [name for name in state if name.startswith(first)]:
        state.setdefault(prefix + _ACTIVATION + name.removeprefix(first), state[name])


def check_composition(layer: BottleneckLayer, setup: AdapterCompositionBlock | str) -> None:
    """Refuse a composition that is undefined for the switched adapters of the layer.

    Fuse reads the bottlenecks' outputs before their switches. In a Stack, the upper switch would
    choose between its adapter and the identity of what the lower one has chosen. All other
    compositions keep their adapters apart.

    Raises:
        AdapterError: a switched adapter inside Fuse, or several in a Stack.
    """
    if isinstance(setup, str):
        return
    switched = [child for child in setup if _switched(layer, child)]
    if isinstance(setup, Fuse) and switched:
        raise AdapterError(
            f"Fuse reads adapters before their switches (here {_names(switched)}); call "
            "aa_ray.focus(model, name, exact=True) on each first"
        )
    if isinstance(setup, Stack) and len(switched) > 1:
        raise AdapterError(
            f"a Stack may hold one adapter with switches (here {_names(switched)}); call "
            "aa_ray.focus on the others first"
        )
    for child in setup:
        check_composition(layer, child)


def _switched(layer: BottleneckLayer, setup: AdapterCompositionBlock | str) -> bool:
    names = [setup] if isinstance(setup, str) else setup.flatten()
    modules = [layer.adapters[name] for name in names if name in layer.adapters]
    return any(getattr(module, "switch", None) is not None for module in modules)


def _names(children: list[AdapterCompositionBlock | str]) -> str:
    return " and ".join(map(str, children))
