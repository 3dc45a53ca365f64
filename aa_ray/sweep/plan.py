"""The text of ``--plan``: a study's progress, and how long the rest takes, here or on a cluster."""

import dataclasses
import os

from aa_ray.study.forecast import Plan, duration
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import memory
from aa_ray.sweep.resources import Resources, Settled


def describe(queue: TrialQueue, resources: Resources, gpus: int | None) -> str:
    """The number of done, runnable and blocked trials, and how long the rest may take.

    Args:
        gpus: plan for a cluster with this many GPUs; None plans for this machine.
    """
    settled, slots = _settle(queue, resources, gpus)
    counts = queue.counts()
    lines = [
        f"trials    {counts.total()}",
        f"done      {counts['finished']}",
        f"failed    {counts['failed']}",
        f"runnable  {counts['runnable']}",
        f"blocked   {counts['blocked']} (wait for trials that decide their layers or rates)",
        f"lost      {counts['lost']} (wait for a trial that failed)",
    ]
    plan = queue.plan(slots, settled.fuse_by_task)
    if plan is None:
        lines.append("time left not known until the first trial of this backbone has finished")
    else:
        lines += _time_left(plan, slots, gpus)
        if gpus is not None:
            lines.append(_gpu_hours(plan, settled.gpus_per_trial, gpus))
    return "\n".join(lines)


def _settle(queue: TrialQueue, resources: Resources, gpus: int | None) -> tuple[Settled, int]:
    """The resources with ``auto`` replaced by numbers, and how many trials run at once."""
    if gpus is not None:  # a cluster that need not exist yet
        if resources.gpus_per_trial == 0:
            resources = dataclasses.replace(resources, gpus_per_trial=None)
        settled = memory.settle(resources, queue, memory.local_gpus() or [memory.ASSUMED_BYTES])
        enough_cpus = settled.cpus_per_trial * gpus / settled.gpus_per_trial + 1
        return settled, settled.slots({"CPU": enough_cpus, "GPU": gpus})
    # For this machine, unless --max-concurrent says how many will run at once on a cluster.
    gpus_here = memory.local_gpus() if resources.gpus_per_trial != 0 else ()
    here = {"CPU": os.cpu_count() or 1, "GPU": len(gpus_here) or 1}
    shares = memory.processes_per_gpu(resources, [here])
    settled = memory.settle(resources, queue, gpus_here, shares)
    return settled, settled.max_concurrent or settled.slots(here)


def _time_left(plan: Plan, slots: int, gpus: int | None) -> list[str]:
    where = f" on {gpus} GPUs" if gpus is not None else ""
    hint = " (see --max-concurrent)" if gpus is None else ""
    return [
        f"time left about {duration(plan.makespan)}{where} with {slots} trials at once{hint}",
        f"          {duration(plan.busy)} of work; the longest chain of trials that wait for "
        f"each other takes {duration(plan.path)}",
    ]


def _gpu_hours(plan: Plan, gpus_per_trial: float, gpus: int) -> str:
    hours = plan.busy * gpus_per_trial / 3600
    used = 100 * hours * 3600 / (gpus * plan.makespan) if plan.makespan else 0.0
    return f"          {hours:,.1f} GPU-hours of work, GPU utilisation {used:.0f} %"
