"""How many trials fit side by side into a GPU's memory, and so what ``auto`` means.

By task, since CoLA's sentences have a tenth of RTE's tokens: from measured trials of that task and
precision once there are some, until then from the backbone's shape and texts of the longest kind.
On a CPU the number of cores decides instead.
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

# Bytes kept for the backward pass on a GPU per token, layer and hidden unit in float32: 59 to 70 in
# a step of BERT-large (32 texts of 128 tokens) followed with tensors that only claim to be on a
# GPU. tests/sweep/test_memory.py counts what autograd keeps.
BYTES_PER_UNIT = 70
BATCH_TOKENS = 32 * 128  # of a training step, at most
VOCABULARY = 30_522

# What CUDA itself takes in each process, and the share of a GPU that is left for other than
# fragmentation. Evaluation fits its batches into what training leaves (training/evaluation.py).
CONTEXT_BYTES = 600 * 10**6
USABLE = 0.9

# A measured trial may have had shorter texts than the next of its task.
MARGIN = 1.1

# Trials side by side, at most: a cell of Table 2 has about as many that wait for no other.
MOST_TRIALS = 20

# Processes that share a GPU, at most.
MOST_SHARES = 8

# Memory of a GPU that has not been started yet.
ASSUMED_BYTES = 16 * 10**9

# Prints the bytes of each GPU that torch sees.
_SIZES = (
    "import torch; "
    "print(*(torch.cuda.get_device_properties(k).total_memory "
    "for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)))"
)

# What a machine with NVIDIA's driver has, under Linux and under Windows' Linux.
_DEVICES = ("/dev/nvidia[0-9]*", "/dev/dxg")


def of_weights(backbone: Backbone, precision: Precision) -> int:
    """Bytes of the frozen weights."""
    hidden = backbone.hidden_size
    count = backbone.parameters or backbone.num_layers * 12 * hidden**2 + VOCABULARY * hidden
    return count * (2 if precision == "bf16" else 4)


def of_trial(backbone: Backbone, precision: Precision) -> int:
    """Bytes that a trial adds in training on a GPU, on the longest texts."""
    units = backbone.num_layers * backbone.passes * backbone.hidden_size * BATCH_TOKENS
    return units * BYTES_PER_UNIT // (2 if precision == "bf16" else 1)


def of_task(queue: TrialQueue, task: str) -> int:
    """Bytes that a trial of the task adds: measured, or as on the longest texts."""
    study = queue.study
    shared = of_weights(study.backbone, study.precision)
    measured = queue.forecast.footprint.per_trial(task, study.precision, shared)
    if measured is None:
        return of_trial(study.backbone, study.precision)
    return max(1, int(MARGIN * measured))


def has_gpus(autoscaling: Mapping[str, Any] | None) -> bool:
    """Whether a cluster with that configuration may start nodes with GPUs."""
    kinds = (autoscaling or {}).get("available_node_types", {}).values()
    return any(kind.get("resources", {}).get("GPU") for kind in kinds)


def processes_per_gpu(resources: Resources, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many processes can share each GPU, so that none is left without.

    Ray fills one GPU before the next, so of small shares a few cores' processes would all be there.

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
    """The resources with numbers in place of every ``auto``.

    A process gets the largest group that helps; what is left of a GPU goes to more processes, each
    of which hides the time that the others' host code takes.

    Args:
        gpus: bytes of memory of each kind of GPU; the smallest decides.
        shares: processes of a GPU, at most; see ``processes_per_gpu``.
    """
    study = queue.study
    fixed = of_weights(study.backbone, study.precision) + CONTEXT_BYTES
    of_tasks = {task: of_task(queue, task) for task in study.tasks}
    memory = min(gpus, default=ASSUMED_BYTES)
    share, fuse = resources.gpus_per_trial, resources.fuse
    if fuse is None and engine_for(resources.engine, study.backbone) == ADAPTERHUB:
        fuse = 1  # it computes the trials of a group one after the other
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
    """How many trials may train side by side with this one, by all that is known by now."""
    most = settled.fuse_by_task.get(trial.task, settled.fuse)
    return _at_most(most, queue, trial.task, settled.memory_bytes)


def _at_most(most: int, queue: TrialQueue, task: str, memory_bytes: int) -> int:
    """The number, or less where so many trials of the task have run out of memory."""
    fitted = queue.forecast.footprint.most(task, queue.study.precision, memory_bytes)
    return most if fitted is None else min(most, fitted)


def _fitting(room: float, of_trial: int) -> int:
    """Trials that fit into the room, from 1 to ``MOST_TRIALS``."""
    return max(1, min(MOST_TRIALS, int(room / of_trial)))


def check_fits(resources: Resources, queue: TrialQueue) -> None:
    """Refuse trials that ask for more than this machine has.

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
        return []  # without a driver torch would see none, and takes seconds to import
    # In another process: in this one CUDA would keep half a gigabyte of the first GPU.
    command = [sys.executable, "-c", _SIZES]
    try:
        ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(size) for size in ran.stdout.split()]
