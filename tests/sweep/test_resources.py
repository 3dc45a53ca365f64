"""aa_ray.sweep.resources: how many trials fit."""

from pathlib import Path
from typing import Any

import pytest

from aa_ray.errors import UsageError
from aa_ray.sweep.resources import Settled, autoscaling_config


@pytest.mark.parametrize(
    ("resources", "available", "slots"),
    [
        (Settled(), {"CPU": 2}, 2),
        (Settled(cpus_per_trial=2), {"CPU": 5}, 2),
        (Settled(max_concurrent=1), {"CPU": 4}, 1),
        (Settled(max_concurrent=9), {"CPU": 4}, 4),
        (Settled(gpus_per_trial=0.25), {"CPU": 64, "GPU": 2}, 8),
        (Settled(gpus_per_trial=0.4), {"CPU": 64, "GPU": 3}, 6),
        (Settled(gpus_per_trial=2), {"CPU": 64, "GPU": 5}, 2),
        (Settled(gpus_per_trial=0.1), {"CPU": 3, "GPU": 1}, 3),
    ],
)
def test_slots(resources: Settled, available: dict[str, float], slots: int) -> None:
    assert resources.slots(available) == slots


def test_a_trial_that_cannot_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1 CPUs and 0.5 GPUs, but there are 8 CPUs and 0 GPUs"):
        Settled(gpus_per_trial=0.5).slots({"CPU": 8})


HEAD = {"memory": 1e9}  # no CPU, so no trial
SMALL, LARGE = {"CPU": 8.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("resources", "nodes", "slots"),
    [
        (Settled(), [HEAD, {"CPU": 2}], 2),
        (Settled(gpus_per_trial=0.25), [HEAD, SMALL, LARGE], 4 + 16),
        (Settled(gpus_per_trial=0.25), [HEAD, {"CPU": 64}, SMALL], 4),  # CPU nodes contribute none
        (Settled(cpus_per_trial=3), [{"CPU": 4}, {"CPU": 4}], 2),  # 8 CPUs, 2 of them left over
        (Settled(gpus_per_trial=2), [SMALL, SMALL, LARGE], 2),
        (Settled(gpus_per_trial=1, max_concurrent=3), [HEAD], 3),
    ],
)
def test_slots_of_a_cluster(resources: Settled, nodes: list[dict[str, float]], slots: int) -> None:
    assert resources.cluster_slots(nodes) == slots


def autoscaling(max_workers: int, **kinds: tuple[dict[str, float], int]) -> dict[str, Any]:
    types = {name: {"resources": r, "max_workers": most} for name, (r, most) in kinds.items()}
    head = {"head": {"resources": {"CPU": 0}, "max_workers": 0}}
    return {"max_workers": max_workers, "available_node_types": head | types}


@pytest.mark.parametrize(
    ("config", "slots"),
    [
        (autoscaling(8, spot=(SMALL, 8), on_demand=(SMALL, 8)), 8 * 4),
        (autoscaling(8, small=(SMALL, 8), large=(LARGE, 2)), 2 * 16 + 6 * 4),
        (autoscaling(8, cpus=({"CPU": 64}, 8), small=(SMALL, 3)), 3 * 4),
    ],
)
def test_slots_of_a_cluster_that_starts_from_zero(config: dict[str, Any], slots: int) -> None:
    resources = Settled(gpus_per_trial=0.25)
    assert resources.cluster_slots([HEAD], config) == slots
    assert resources.cluster_slots([HEAD, *[LARGE] * 9], config) == 9 * 16  # already larger


@pytest.mark.parametrize("config", [None, autoscaling(8, cpus=({"CPU": 64}, 8))])
def test_a_trial_that_no_node_can_take_is_refused(config: dict[str, Any] | None) -> None:
    with pytest.raises(
        UsageError, match=r"no node of the cluster has that many; .*--max-concurrent"
    ):
        Settled(gpus_per_trial=1).cluster_slots([HEAD], config)


def test_the_head_knows_what_ray_up_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert autoscaling_config() is None
    (tmp_path / "ray_bootstrap_config.yaml").write_text("max_workers: 8")
    assert autoscaling_config() == {"max_workers": 8}
