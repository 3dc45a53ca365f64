"""What ``--plan`` says: how far a study is, and what the rest would take, here or on a cluster."""

import dataclasses
import os

import torch

from aa_ray.study.forecast import duration
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import memory
from aa_ray.sweep.resources import Resources


def describe(queue: TrialQueue, resources: Resources, gpus: int | None) -> str:
    """What is done, runnable and blocked, and the time the rest may take."""
    if gpus is not None:  # of a cluster that need not be there yet
        if resources.gpus_per_trial == 0:
            resources = dataclasses.replace(resources, gpus_per_trial=None)
        settled = memory.settle(resources, queue, memory.local_gpus() or [memory.ASSUMED_BYTES])
        cpus = settled.cpus_per_trial * gpus / settled.gpus_per_trial  # enough of them
        slots = settled.slots({"CPU": cpus + 1, "GPU": gpus})
    else:  # as on this machine; who plans for a cluster says how many run at once
        settled = memory.settle(resources, queue, memory.local_gpus())
        here = {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count() or 1}
        slots = settled.max_concurrent or settled.slots(here)
    counts = queue.counts()
    lines = [
        f"trials    {counts.total()}",
        f"done      {counts['finished']}",
        f"failed    {counts['failed']}",
        f"runnable  {counts['runnable']}",
        f"blocked   {counts['blocked']} (wait for an aa trial that selects their layers)",
        f"lost      {counts['lost']} (wait for an aa trial that failed)",
    ]
    plan = queue.plan(slots, settled.fuse)
    if plan is None:
        return "\n".join(
            [*lines, "time left not known until the first trial of this backbone has finished"]
        )
    where = f" on {gpus} GPUs" if gpus is not None else ""
    lines.append(
        f"time left about {duration(plan.makespan)}{where} with {slots} trials at once"
        + (" (see --max-concurrent)" if gpus is None else "")
    )
    lines.append(
        f"          {duration(plan.busy)} of work; the longest chain of trials that wait for "
        f"each other takes {duration(plan.path)}"
    )
    if gpus is not None:
        hours = plan.busy * settled.gpus_per_trial / 3600
        used = 100 * hours * 3600 / (gpus * plan.makespan) if plan.makespan else 0.0
        lines.append(f"          {hours:,.1f} GPU-hours of work, GPUs used to {used:.0f} %")
    return "\n".join(lines)
