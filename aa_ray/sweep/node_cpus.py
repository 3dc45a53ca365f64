"""Asks the cluster's machines, before a study, whether its precision is slow on their CPUs."""

import sys

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aa_ray.study.grid import Study
from aa_ray.sweep.resources import Settled

# Maximum number of machines to ask, and of seconds to wait for each, which has to import torch.
MACHINES = 16
SECONDS = 60.0


def note_slow_precision(study: Study, resources: Settled) -> None:
    """Print a note if the study's precision is slower than float32 on a machine's CPU."""
    if study.precision == "fp32" or resources.gpus_per_trial:
        return
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = {}
    for node in nodes[:MACHINES]:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        answer = _slow_precision.options(scheduling_strategy=place).remote(
            study.precision, study.backbone.hidden_size, resources.cpus_per_trial
        )
        asked[answer] = node["NodeManagerHostname"]
    hosts: dict[str, str] = {}  # by answer, since machines of one type mostly give the same
    for answer, host in asked.items():
        line = _line(answer)
        if line is not None:
            hosts.setdefault(line, host)
    for line, host in hosts.items():
        print(f"note: {f'{host}: ' if resources.address else ''}{line}", file=sys.stderr)


def _line(answer: ray.ObjectRef) -> str | None:
    """The machine's answer; None if it is fast, failed, or did not answer in time."""
    try:
        line: str | None = ray.get(answer, timeout=SECONDS)
    except RayError:  # includes timeouts
        ray.cancel(answer, force=True)
        return None
    return line


@ray.remote(num_cpus=0, max_retries=0)
def _slow_precision(precision: str, hidden_size: int, threads: int) -> str | None:
    from aa_ray.sweep.actor import prepare_device

    prepare_device(0)
    import torch

    from aa_ray.training import cpu_products

    torch.set_num_threads(threads)
    return cpu_products.slow_precision(precision, hidden_size)
