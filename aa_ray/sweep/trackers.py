"""The experiment trackers that a sweep supports, without importing them; see ``tracking``."""

import importlib.util
from collections.abc import Iterable

from aa_ray.errors import UsageError, unknown

# Name of the extra that installs a tracker -> the package that Ray's callback imports.
TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}

# Folder for trackers' files, relative to the working folder.
TRACKING = "tracking"


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names without duplicates.

    Raises:
        UsageError: a tracker is unknown or not installed.
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
