"""The GPUs of Ray's machines and their memory."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aa_ray.sweep import memory
from aa_ray.sweep.resources import Resources, autoscaling_config

# How long to wait for nodes to report their GPU's memory.
GPU_SECONDS = 60.0


def sizes(resources: Resources, nodes: Sequence[Mapping[str, Any]]) -> Sequence[int]:
    """Bytes of memory of a GPU on each node that has one; empty if trials use no GPU."""
    if resources.gpus_per_trial == 0 or None not in (resources.gpus_per_trial, resources.fuse):
        return []
    nodes = [node for node in nodes if node["Resources"].get("GPU")]
    found = memory.local_gpus() if resources.address is None else _gpus_of(nodes)
    if nodes and found == []:
        print(
            f"note: Ray counts GPUs on {len(nodes)} of the machines, but torch sees none there, so "
            "trials run on CPUs; python -m aa_ray doctor says why",
            file=sys.stderr,
        )
    may_grow = resources.address is not None and memory.has_gpus(autoscaling_config())
    unknown = may_grow or (nodes and found is None)
    return found or [memory.ASSUMED_BYTES] * bool(unknown)


def _gpus_of(nodes: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """Bytes of memory of a GPU on each node where torch sees one; None if no node answers."""

    @ray.remote(num_cpus=0)
    def gpu_bytes() -> int:
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0

    answers = [
        gpu_bytes.options(
            num_gpus=0.01, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], False)
        ).remote()
        for node in nodes
    ]
    # A node whose GPU is in use by another job does not answer; then the others decide.
    ready = ray.wait(answers, num_returns=len(answers), timeout=GPU_SECONDS)[0] if answers else []
    return [size for size in ray.get(ready) if size] if ready else None
