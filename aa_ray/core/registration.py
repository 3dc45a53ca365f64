"""Makes the rationals and the mean-pooling head known to AdapterHub, whoever is imported first.

After ``import aa_ray``, stock AdapterHub accepts ``SeqBnConfig(non_linearity="rational:one")``, and
loads adapters and heads that were saved with either. Importing transformers (and with it torch)
takes seconds, and most commands need neither. So ``register`` imports nothing: what it adds to a
module is added at once where that module has been imported, else as soon as somebody imports it.
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
