"""Decides how many trials fit side by side into a GPU's memory, which resolves ``auto``.

The number depends on the task, since CoLA's sentences have a tenth of RTE's tokens. It comes from
measured trials of the same task and precision. Before there are any, it is estimated from the
backbone's shape and texts of maximum length. On a CPU the number of cores decides instead.
"""

import functools
import glob
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aa_ray.core.backbones import Backbone
from aa_ray.core.engines import ADAPTERHUB, engine_for
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep.resources import Resources, Settled
from aa_ray.trial import Precision, Trial

# Bytes kept for the backward pass on a GPU per token, layer and hidden unit in float32. A simulated
# step of BERT-large (32 texts of 128 tokens, fake tensors) gives 59 to 70.
# tests/sweep/test_memory.py counts what autograd keeps.
BYTES_PER_UNIT = 70
BATCH_TOKENS = 32 * 128  # maximum for a training step
VOCABULARY = 30_522

# Memory that CUDA itself needs in each process, and the share of a GPU that remains after
# fragmentation. Evaluation fits its batches into what training leaves (training/evaluation.py).
CONTEXT_BYTES = 600 * 10**6
USABLE = 0.9

# Safety factor: a measured trial may have had shorter texts than the next one of its task.
MARGIN = 1.1

# Maximum number of trials side by side: about as many independent ones as a cell of Table 2 has.
MOST_TRIALS = 20

# Maximum number of processes that share a GPU.
MOST_SHARES = 8

# Assumed memory of a GPU that has not been started yet.
ASSUMED_BYTES = 16 * 10**9

# Prints the bytes of each GPU that torch sees.
_SIZES = (
    "import torch; "
    "print(*(torch.cuda.get_device_properties(k).total_memory "
    "for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)))"
)

# Files of NVIDIA's driver, under Linux and under Windows' Linux.
_DEVICES = ("/dev/nvidia[0-9]*", "/dev/dxg")


def of_weights(backbone: Backbone, precision: Precision) -> int:
    """Bytes for the frozen weights."""
    hidden = backbone.hidden_size
    count = backbone.parameters or backbone.num_layers * 12 * hidden**2 + VOCABULARY * hidden
    return count * (2 if precision == "bf16" else 4)


def of_trial(backbone: Backbone, precision: Precision) -> int:
    """Bytes that a trial adds in training on a GPU, for texts of maximum length."""
    units = backbone.num_layers * backbone.passes * backbone.hidden_size * BATCH_TOKENS
    return units * BYTES_PER_UNIT // (2 if precision == "bf16" else 1)


def of_task(queue: TrialQueue, task: str) -> int:
    """Bytes that a trial of the task adds: measured, or estimated for texts of maximum length."""
    study = queue.study
    shared = of_weights(study.backbone, study.precision)
    measured = queue.forecast.footprint.per_trial(task, study.precision, shared)
    if measured is None:
        return of_trial(study.backbone, study.precision)
    return max(1, int(MARGIN * measured))


def has_gpus(autoscaling: Mapping[str, Any] | None) -> bool:
    """Whether a cluster with this configuration may start nodes with GPUs."""
    kinds = (autoscaling or {}).get("available_node_types", {}).values()
    return any(kind.get("resources", {}).get("GPU") for kind in kinds)


def processes_per_gpu(resources: Resources, nodes: Iterable[Mapping[str, float]]) -> int:
    """The number of processes that can share each GPU such that no GPU stays empty.

    Ray fills one GPU before the next. So with small shares, the processes that a node has cores for
    would all run on the same GPU.

    Args:
        nodes: CPU and GPU of each node.
    """
    on_gpus = [node for node in nodes if node.get("GPU")]
    cores = min((node.get("CPU", 0) / node["GPU"] for node in on_gpus), default=MOST_SHARES)
    most = min(MOST_SHARES, int(cores // resources.cpus_per_trial))
    if resources.max_concurrent and on_gpus:
        most = min(most, math.ceil(resources.max_concurrent / sum(n["GPU"] for n in on_gpus)))
    return max(1, most)


def settle(
    resources: Resources, queue: TrialQueue, gpus: Sequence[int], shares: int = MOST_SHARES
) -> Settled:
    """The resources with all ``auto`` values replaced by numbers.

    A process gets the largest group that speeds it up. The rest of a GPU goes to further processes,
    which keep it busy during the others' host code.

    Args:
        gpus: bytes of memory of each type of GPU; the smallest decides.
        shares: maximum number of processes on a GPU; see ``processes_per_gpu``.
    """
    study = queue.study
    fixed = of_weights(study.backbone, study.precision) + CONTEXT_BYTES
    of_tasks = {task: of_task(queue, task) for task in study.tasks}
    memory = min(gpus, default=ASSUMED_BYTES)
    share, fuse = resources.gpus_per_trial, resources.fuse
    if fuse is None and engine_for(resources.engine, study.backbone) == ADAPTERHUB:
        fuse = 1  # this engine computes the trials of a group one after another
    if share is None and not gpus:
        share = 0.0
    elif share is None:
        largest = max(of_tasks.values())
        group = fuse or _fitting(USABLE * memory - fixed, largest)
        share = 1 / max(1, min(shares, int(USABLE * memory / (fixed + group * largest))))
    own = int(memory * min(share, 1.0))
    if fuse is None and share:
        room = USABLE * own - fixed
        by_task = {task: _fitting(room, of_trial) for task, of_trial in of_tasks.items()}
    else:
        by_task = dict.fromkeys(study.tasks, fuse or resources.cpu_fuse)
    by_task = {task: _at_most(most, queue, task, own) for task, most in by_task.items()}
    settled = {"gpus_per_trial": share, "fuse": max(by_task.values()), "fuse_by_task": by_task,
               "memory_bytes": own if share else 0}  # fmt: skip
    return Settled(**{**vars(resources), **settled})


def group_size(settled: Settled, queue: TrialQueue, trial: Trial) -> int:
    """The maximum size of this trial's group, as far as it is known."""
    most = settled.fuse_by_task.get(trial.task, settled.fuse)
    return _at_most(most, queue, trial.task, settled.memory_bytes)


def _at_most(most: int, queue: TrialQueue, task: str, memory_bytes: int) -> int:
    """``most``, or less if that many trials of the task have run out of memory."""
    fitted = queue.forecast.footprint.most(task, queue.study.precision, memory_bytes)
    return most if fitted is None else min(most, fitted)


def _fitting(room: float, of_trial: int) -> int:
    """Number of trials that fit into ``room`` bytes, from 1 to ``MOST_TRIALS``."""
    return max(1, min(MOST_TRIALS, int(room / of_trial)))


def check_fits(resources: Resources, queue: TrialQueue) -> None:
    """Refuse trials that need more than this machine has.

    Raises:
        UsageError: see ``Settled.slots``.
    """
    gpus = local_gpus() if resources.gpus_per_trial != 0 else []
    here = {"CPU": os.cpu_count() or 1, "GPU": len(gpus)}
    settle(resources, queue, gpus, processes_per_gpu(resources, [here])).slots(here)


@functools.cache
def local_gpus() -> Sequence[int]:
    """Bytes of memory of each GPU of this machine."""
    if not any(map(glob.glob, _DEVICES)):
        return []  # without a driver torch sees no GPU, and importing torch takes seconds
    # In another process, since CUDA would keep half a gigabyte of the first GPU in this one.
    command = [sys.executable, "-c", _SIZES]
    try:
        ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(size) for size in ran.stdout.split()]
