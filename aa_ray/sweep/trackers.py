"""Which experiment trackers a sweep can feed; ``tracking`` does it. Imports none of them."""

import importlib.util
from collections.abc import Iterable

from aa_ray.errors import UsageError, unknown

# Name of the extra that installs it -> the package that Ray's own callback imports.
TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}

# The folder for what a tracker keeps in files, in the working folder.
TRACKING = "tracking"


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        UsageError: an unknown one, or one that is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        if importlib.util.find_spec(TRACKERS[name]) is None:
            raise UsageError(
                f"--track {name}: the package {TRACKERS[name]} is not installed; "
                f"pip install -e '.[{name}]'"
            )
    return tuple(dict.fromkeys(names))
