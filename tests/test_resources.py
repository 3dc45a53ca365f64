"""aa_ray.resources: how many trials fit."""

import pytest

from aa_ray.errors import UsageError
from aa_ray.resources import Resources


@pytest.mark.parametrize(
    ("resources", "available", "slots"),
    [
        (Resources(), {"CPU": 2}, 2),
        (Resources(cpus_per_trial=2), {"CPU": 5}, 2),
        (Resources(max_concurrent=1), {"CPU": 4}, 1),
        (Resources(max_concurrent=9), {"CPU": 4}, 4),
        (Resources(gpus_per_trial=0.25), {"CPU": 64, "GPU": 2}, 8),
        (Resources(gpus_per_trial=0.4), {"CPU": 64, "GPU": 3}, 6),
        (Resources(gpus_per_trial=2), {"CPU": 64, "GPU": 5}, 2),
        (Resources(gpus_per_trial=0.1), {"CPU": 3, "GPU": 1}, 3),
    ],
)
def test_slots(resources: Resources, available: dict[str, float], slots: int) -> None:
    assert resources.slots(available) == slots


def test_a_trial_that_cannot_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1 CPUs and 0.5 GPUs, but there are 8 CPUs and 0 GPUs"):
        Resources(gpus_per_trial=0.5).slots({"CPU": 8})
