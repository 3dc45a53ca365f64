"""How many trials fit side by side into a GPU's memory, and so what ``auto`` means.

Estimated from the backbone's shape, and from measured trials once there are some. On a CPU the
number of cores decides instead.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from aa_ray.core.backbones import Backbone
from aa_ray.core.engines import ADAPTERHUB, engine_for
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep.resources import Resources, Settled
from aa_ray.trial import Precision

# Bytes kept for the backward pass per token, layer and hidden unit in float32, at 128 tokens per
# example: 94, counted with torch's saved-tensor hooks on MiniLM (tests/sweep/test_memory.py counts
# again).
BYTES_PER_UNIT = 100
BATCH_TOKENS = 32 * 128  # of a training step, at most
VOCABULARY = 30_522

# The share of memory that trials may use; CUDA itself, fragmentation and evaluation need the rest.
USABLE = 0.8

# Trials side by side, at most: a cell of Table 2 has about as many that wait for no other.
MOST_TRIALS = 20

# The same on a CPU, whose cores one trial fills already; more only take memory
# (benchmarks/fused.md).
CPU_TRIALS = 4

# Processes that share a GPU, at most.
MOST_SHARES = 8

# Memory of a GPU that has not been started yet.
ASSUMED_BYTES = 16 * 10**9


def of_weights(backbone: Backbone, precision: Precision) -> int:
    """Bytes of the frozen weights."""
    hidden = backbone.hidden_size
    count = backbone.parameters or backbone.num_layers * 12 * hidden**2 + VOCABULARY * hidden
    return count * (2 if precision == "bf16" else 4)


def of_trial(backbone: Backbone, precision: Precision) -> int:
    """Bytes that a trial adds in training, on the longest texts."""
    units = backbone.num_layers * backbone.passes * backbone.hidden_size * BATCH_TOKENS
    return units * BYTES_PER_UNIT // (2 if precision == "bf16" else 1)


def has_gpus(autoscaling: Mapping[str, Any] | None) -> bool:
    """Whether a cluster with that configuration may start nodes with GPUs."""
    kinds = (autoscaling or {}).get("available_node_types", {}).values()
    return any(kind.get("resources", {}).get("GPU") for kind in kinds)


def settle(resources: Resources, queue: TrialQueue, gpus: Sequence[int]) -> Settled:
    """The resources with numbers in place of every ``auto``.

    Args:
        gpus: bytes of memory of each kind of GPU; the smallest decides.
    """
    study = queue.study
    weights = of_weights(study.backbone, study.precision)
    trial = queue.forecast.peak_bytes(weights) or of_trial(study.backbone, study.precision)
    usable = USABLE * min(gpus, default=ASSUMED_BYTES)
    share, fuse = resources.gpus_per_trial, resources.fuse
    if fuse is None and engine_for(resources.engine, study.backbone) == ADAPTERHUB:
        fuse = 1  # it computes the trials of a group one after the other
    if share is None:
        if not gpus:
            share = 0.0
        elif fuse is None:
            share = 1.0  # one large group uses a GPU better than several processes
        else:
            share = 1 / max(1, min(MOST_SHARES, int(usable / (weights + fuse * trial))))
    if fuse is None:
        fitting = int((usable * min(share, 1.0) - weights) / trial) if share else CPU_TRIALS
        fuse = max(1, min(MOST_TRIALS, fitting))
    return Settled(**{**vars(resources), "gpus_per_trial": share, "fuse": fuse})


def check_fits(resources: Resources, queue: TrialQueue) -> None:
    """Refuse trials that ask for more than this machine has.

    Raises:
        UsageError: see ``Settled.slots``.
    """
    gpus = local_gpus()
    settle(resources, queue, gpus).slots({"CPU": os.cpu_count() or 1, "GPU": len(gpus)})


def local_gpus() -> list[int]:
    """Bytes of memory of each GPU of this machine."""
    import torch  # takes seconds to import; only trials on GPUs have to know

    count = torch.cuda.device_count()
    return [torch.cuda.get_device_properties(k).total_memory for k in range(count)]
