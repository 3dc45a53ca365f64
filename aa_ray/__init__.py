"""aa_ray: a Ray-distributed reproduction of "Adaptable Adapters" (Moosavi et al., NAACL 2022).

``import aa_ray`` registers rationals and switches with AdapterHub: stock ``adapters`` then accepts
``AdaptableConfig()`` and ``SeqBnConfig(non_linearity="rational:one")``, and loads adapters saved
with either. See docs/adapters.md and ``aa_ray.core.registration``. It imports neither torch nor
transformers; each name below is imported on first use.
"""

import importlib
from typing import TYPE_CHECKING

from aa_ray.core import registration

# Type checkers take the names from here, Python from ``_PLACES``.
if TYPE_CHECKING:
    from aa_ray import architectures, own, results
    from aa_ray.core.adaptable_config import AdaptableConfig
    from aa_ray.core.adapter import AdaptableAdapter
    from aa_ray.core.architectures import METHODS, Method
    from aa_ray.core.focus import add_adapter, focus, selected_layers
    from aa_ray.core.optimizers import optimizers, parameter_groups
    from aa_ray.core.rational import Rational
    from aa_ray.store.rows import read
    from aa_ray.study.plugins import activation, architecture, task
    from aa_ray.study.trials import make_trial
    from aa_ray.training.api import train
    from aa_ray.trial import Trial

    __version__: str

__all__ = [
    "METHODS",
    "AdaptableAdapter",
    "AdaptableConfig",
    "Method",
    "Rational",
    "Trial",
    "activation",
    "add_adapter",
    "architecture",
    "architectures",
    "focus",
    "make_trial",
    "optimizers",
    "own",
    "parameter_groups",
    "read",
    "results",
    "selected_layers",
    "task",
    "train",
]

# Public name -> the module that defines it; "" if the name is itself a module.
_PLACES = {
    "AdaptableAdapter": "core.adapter",
    "AdaptableConfig": "core.adaptable_config",
    "METHODS": "core.architectures",
    "Method": "core.architectures",
    "Rational": "core.rational",
    "Trial": "trial",
    "activation": "study.plugins",
    "add_adapter": "core.focus",
    "architecture": "study.plugins",
    "architectures": "",
    "focus": "core.focus",
    "make_trial": "study.trials",
    "optimizers": "core.optimizers",
    "own": "",
    "parameter_groups": "core.optimizers",
    "read": "store.rows",
    "results": "",
    "selected_layers": "core.focus",
    "task": "study.plugins",
    "train": "training.api",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import a public name when it is first used (PEP 562)."""
        if name == "__version__":
            globals()[name] = value = _version()
            return value
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        place = _PLACES[name]
        if not place:
            return importlib.import_module(f"{__name__}.{name}")
        value = getattr(importlib.import_module(f"{__name__}.{place}"), name)
        globals()[name] = value  # so that later uses find it directly
        return value


def _version() -> str:
    """Version of the installed package, from its git tag."""
    from importlib import metadata

    try:
        return metadata.version("aa-ray")
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH
        return "0.0"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


registration.register()
