"""Registers rationals, switches and the mean-pooling head with AdapterHub.

After ``import aa_ray``, stock AdapterHub accepts ``SeqBnConfig(non_linearity="rational:one")`` and
``AdaptableConfig()``, and loads adapters and heads that were saved with either.

Activations and named configurations are tables that can be extended. AdapterHub 1.3 has no
extension point for configuration classes, bottleneck modules or heads; for these, this module wraps
a method. tests/core/test_registration.py fails if a newer AdapterHub breaks one of the assumptions.

Importing transformers (and with it torch) takes seconds, and most commands need neither. So
``register`` imports nothing. It extends modules that are already imported, and the others as soon
as they are imported.
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

# AdapterHub's name of ``AdaptableConfig``, and the architecture that is stored in saved adapters.
# If AdapterHub loads one without aa_ray, it fails with a KeyError that shows this text. Without an
# architecture it would load the adapter and ignore the switches.
CONFIG_NAME = "adaptable"
ARCHITECTURE = "adaptable adapter: run 'import aa_ray' before loading it"


def register() -> None:
    """Extend transformers and adapters, now or when they are imported."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name, add in ADDITIONS.items():
        if name in sys.modules:
            add(importlib.import_module(name))  # waits if another thread is importing it


def add_rationals(activations: Any) -> None:
    """Add all rationals to transformers' table of activations, which AdapterHub uses."""
    from aa_ray.core.rational import Rational  # torch, which transformers has imported by now

    for name, settings in RATIONALS.items():
        activations.ACT2FN[name] = (Rational, settings._asdict())


def add_config(adapter_config: Any) -> None:
    """Let AdapterHub make an ``AdaptableConfig`` from the name "adaptable" and when it loads one.

    AdapterHub looks up the class of a saved configuration in a table inside a static method.
    """
    ours = importlib.import_module("aa_ray.core.adaptable_config")
    if not hasattr(ours, "AdaptableConfig"):
        return  # it is just importing AdapterHub, and calls this function at its end
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

    ``BottleneckLayer.add_adapter`` hard-codes the module's class, and all new and loaded adapters
    go through it. All forward passes with an adapter go through ``compose``, however the
    composition was set.
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
    """Register the mean-pooling head with all AdapterHub models that have flexible heads.

    AdapterHub looks up a head's type in the model class, then in the model itself. It has no table
    for all models.
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


# Module -> the function that extends it.
ADDITIONS: dict[str, Callable[[Any], None]] = {
    "transformers.activations": add_rationals,
    "adapters.configuration.adapter_config": add_config,
    "adapters.methods.bottleneck": add_switches,
    "adapters.heads.model_mixin": add_head,
}


class _Loader(Loader):
    """Runs the module with its own loader, then extends it."""

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
    """Finds the modules of ``ADDITIONS`` with the other finders, but loads them with ``_Loader``.

    It stays in ``sys.meta_path``, so that a reloaded module is extended again.
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
