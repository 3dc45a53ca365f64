"""Makes rationals, switches and the mean-pooling head known to AdapterHub.

After ``import aa_ray``, stock AdapterHub accepts ``SeqBnConfig(non_linearity="rational:one")`` and
``AdaptableConfig()``, and loads adapters and heads that were saved with either.

Activations and named configurations are tables, to which anybody may add. AdapterHub 1.3 has no
place for further configuration classes, bottleneck modules or heads; there, a method is wrapped.
All of it is in this module, and tests/core/test_registration.py fails when a newer AdapterHub
changes what it rests on.

Importing transformers (and with it torch) takes seconds, and most commands need neither. So
``register`` imports nothing: what it adds to a module is added at once where that module has been
imported, else as soon as somebody imports it.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from aa_ray.core.coefficients import RATIONALS

# AdapterHub's name for ``aa_ray.core.heads.MeanPoolingHead``.
HEAD_TYPE = "mean_classification"

# AdapterHub's name of ``AdaptableConfig``, and what saved adapters have as their architecture.
# AdapterHub looks the latter up when it loads one, and without aa_ray ends in a KeyError that
# consists of it. Unless there is one, it would ignore the switches.
CONFIG_NAME = "adaptable"
ARCHITECTURE = "adaptable adapter: run 'import aa_ray' before loading it"


def register() -> None:
    """Make additions to transformers and adapters, now or when they are imported."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name, add in ADDITIONS.items():
        if name in sys.modules:
            add(importlib.import_module(name))  # waits where another thread is importing it


def add_rationals(activations: Any) -> None:
    """Add every rational to transformers' table of activations, from which AdapterHub takes its
    own."""
    from aa_ray.core.rational import Rational  # torch, which transformers has imported by now

    for name, settings in RATIONALS.items():
        activations.ACT2FN[name] = (Rational, settings._asdict())


def add_config(adapter_config: Any) -> None:
    """Let AdapterHub make an ``AdaptableConfig`` from the name "adaptable" and from saved ones.

    AdapterHub finds the class of a saved configuration in a table inside a static method.
    """
    ours = importlib.import_module("aa_ray.core.adaptable_config")
    if not hasattr(ours, "AdaptableConfig"):
        return  # it is importing AdapterHub at this moment, and calls this function at its end
    AdaptableConfig = ours.AdaptableConfig

    adapter_config.ADAPTER_CONFIG_MAP[CONFIG_NAME] = AdaptableConfig()
    original = adapter_config.AdapterConfig._get_config_class
    if getattr(original, "knows_adaptable", False):
        return

    def get_config_class(config: dict[str, Any]) -> Any:
        return AdaptableConfig if config.get("architecture") == ARCHITECTURE else original(config)

    get_config_class.knows_adaptable = True  # type: ignore[attr-defined]
    adapter_config.AdapterConfig._get_config_class = staticmethod(get_config_class)


def add_switches(bottleneck: Any) -> None:
    """Let AdapterHub's bottleneck layers hold ``AdaptableAdapter``s.

    AdapterHub writes the class of the module into ``BottleneckLayer.add_adapter``, through which
    every new or loaded adapter comes. ``compose`` is where every forward pass with an adapter
    comes through, whoever has set the composition.
    """
    layer = bottleneck.BottleneckLayer
    add_adapter, compose = layer.add_adapter, layer.compose
    if getattr(add_adapter, "knows_adaptable", False):
        return

    def add(self: Any, adapter_name: str, layer_idx: int) -> bool:
        from aa_ray.core import placement  # imports adapters as a whole

        return placement.add_adapter(self, adapter_name, layer_idx, add_adapter)

    def check_and_compose(self: Any, adapter_setup: Any, state: Any) -> Any:
        from aa_ray.core import placement

        placement.check_composition(self, adapter_setup)
        return compose(self, adapter_setup, state)

    add.knows_adaptable = True  # type: ignore[attr-defined]
    layer.add_adapter, layer.compose = add, check_and_compose


def add_head(model_mixin: Any) -> None:
    """Let every AdapterHub model with flexible heads know the mean-pooling head.

    AdapterHub looks a type up in a list of each model class, then among the heads that were
    registered with the model itself; there is no place for all models.
    """
    mixin = model_mixin.ModelWithFlexibleHeadsAdaptersMixin
    original = mixin.add_prediction_head_from_config
    if getattr(original, "knows_mean_pooling", False):
        return

    def add(self: Any, head_name: str, config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if config.get("head_type") == HEAD_TYPE:
            from aa_ray.core.heads import MeanPoolingHead  # imports adapters as a whole

            self.register_custom_head(HEAD_TYPE, MeanPoolingHead)
        return original(self, head_name, config, *args, **kwargs)

    add.knows_mean_pooling = True  # type: ignore[attr-defined]
    mixin.add_prediction_head_from_config = add


# Module -> what is added to it.
ADDITIONS: dict[str, Callable[[Any], None]] = {
    "transformers.activations": add_rationals,
    "adapters.configuration.adapter_config": add_config,
    "adapters.methods.bottleneck": add_switches,
    "adapters.heads.model_mixin": add_head,
}


class _Loader(Loader):
    """Runs the module with its own loader, then makes the addition."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module looks as if it had been imported without this class.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        ADDITIONS[module.__name__](module)


class _Finder(MetaPathFinder):
    """Finds the modules of ``ADDITIONS`` where the other finders do, but loads with ``_Loader``.

    It stays in ``sys.meta_path``, so that a module that is reloaded has the additions too.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ADDITIONS:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


_FINDER = _Finder()
