"""Shrinks Tune's records of finished trials, so that a driver's memory stays flat.

Until a study ends, Tune keeps an object per trial: settings, the last result, running means of
every number in it, a reference to what its actor returned, and an empty folder. Together these take
about 36 kB of memory. Nothing here reads them again, since the rows are the record.
"""

import os
from contextlib import suppress
from typing import Any


def shrink(trial: Any, like: Any) -> None:
    """Drop what a finished trial of Tune holds.

    Args:
        trial: a ``ray.tune.experiment.Trial`` that Tune has stopped.
        like: another trial with the same resources, whose request for them is shared.
    """
    with suppress(OSError, ValueError):  # there is none, or another library has used it
        os.rmdir(trial.storage.trial_driver_staging_path)
    metadata = trial.run_metadata
    metadata.last_result = {"done": True}  # if it were empty, Tune would ask the actor for one
    metadata.metric_analysis = {}
    metadata.metric_n_steps = {}
    metadata.invalidate_cache()
    trial._default_result_or_future = None
    trial.config = {}
    trial._Trial__unresolved_config = {}
    trial.evaluated_params = {}
    trial.experiment_tag = ""
    trial.placement_group_factory = like.placement_group_factory
    trial._default_placement_group_factory = like._default_placement_group_factory
    trial.storage = like.storage
    trial.invalidate_json_state()
