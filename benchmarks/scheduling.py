"""What does scheduling cost? Trials sleep instead of training, with the study's dependencies.

Driver, searcher, leases, actors, rows and Ray Tune are real. Only training is replaced. Ray is told
that the machine has --slots CPUs, so that many trials run at once on any machine.

    python -m benchmarks.scheduling > benchmarks/scheduling.md
"""

import argparse
import dataclasses
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aa_ray.core import architectures, backbones
from aa_ray.core.backbones import Backbone, Rates
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.store import provenance
from aa_ray.store.rows import Store
from aa_ray.store.schema import Row
from aa_ray.study.forecast import Plan, simulate
from aa_ray.study.grid import Cell, Study
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import tune
from aa_ray.sweep.actor import TrialActor
from aa_ray.sweep.resources import Resources
from aa_ray.trial import Trial

SEED = 0


class SleepingWorker:
    """Sleeps instead of training, for as many milliseconds as the trial's epochs say."""

    remarks: tuple[str, ...] = ()

    def run(self, trials: Sequence[Trial], methods: Sequence[str]) -> list[list[Row]]:
        from aa_ray.store.schema import FINISHED, make_row

        rows = []
        for trial, method in zip(trials, methods, strict=True):
            started = datetime.now(timezone.utc)
            time.sleep(trial.epochs / 1000)
            columns = {
                "method": method, "started_at": started,
                "selected_layers": [0] if trial.switched else None, "adapter_layers": [0],
                "train_seconds": trial.epochs / 1000, "test_seconds": 0.0,
            }  # fmt: skip
            rows.append([make_row(trial.columns, FINISHED, columns)])
        return rows


class SleepingActor(TrialActor):
    """An actor with a sleeping worker."""

    def make_worker(self, setting: dict[str, Any], store: Store) -> Any:
        return SleepingWorker()


@dataclass(frozen=True)
class SleepingStudy(Study):
    """A study whose trials take a time that depends on task and regime.

    The number of epochs holds that time in milliseconds.
    """

    times: tuple[tuple[tuple[str, str], float], ...] = ()

    def seconds(self, cell: Cell) -> float:
        return dict(self.times)[cell.task, cell.regime]

    def trial(
        self, cell: Cell, made: Sequence[tuple[int, ...]] = (), rates: Rates | None = None
    ) -> Trial:
        milliseconds = round(1000 * self.seconds(cell))
        return dataclasses.replace(super().trial(cell, made, rates), epochs=milliseconds)


def study(seeds: int, times: dict[tuple[str, str], float]) -> SleepingStudy:
    """Return Table 2 on all tasks and low-data regimes with these seeds: 162 trials per seed."""
    return SleepingStudy(
        methods=architectures.TABLE2,
        tasks=tuple(tasks.TASKS),
        regimes=("100", "300", "500"),
        seeds=(architectures.FIRST_SEED, *range(1000, 1000 + seeds - 1)),
        backbone=Backbone("sleep", "sleep", 12, 768),
        source=Source("embedded"),
        rates=backbones.RELEASED_RATES,
        epochs=1,
        times=tuple(times.items()),
    )


def even(seconds: float) -> dict[tuple[str, str], float]:
    """Every trial takes the same time."""
    return {(task, regime): seconds for task in tasks.TASKS for regime in ("100", "300", "500")}


def spread(mean: float) -> dict[tuple[str, str], float]:
    """Log-normal over tasks and proportional to examples over regimes, as measured on GLUE."""
    rng = np.random.default_rng(SEED)
    of_task = rng.lognormal(0, 0.7, len(tasks.TASKS))
    found = {
        (task, regime): float(factor) * int(regime)
        for task, factor in zip(tasks.TASKS, of_task, strict=True)
        for regime in ("100", "300", "500")
    }
    scale = mean / float(np.mean(list(found.values())))
    return {key: scale * value for key, value in found.items()}


@dataclass
class Outcome:
    trials: int
    start: float
    rest: float
    plan: Plan
    cpu: float
    memory: float


def measure(of: SleepingStudy, slots: int, fuse: int) -> Outcome:
    """Run the study and plan it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        queue = TrialQueue(of, [])
        cpu = _cpu()
        started = time.time()
        tune.run_study(queue, store, Resources(fuse=fuse), actor=SleepingActor)
        ended = time.time()
        if not queue.complete or queue.failures():
            raise SystemExit("the study did not finish")
        cells = {queue.trial(cell): cell for cell in of.cells}.values()
        weight = {cell: of.seconds(cell) for cell in cells}
        memory, cpu = resident(), _cpu() - cpu
        begun = sorted(at.timestamp() for at in store.read().column("started_at").to_pylist())
        ready = statistics.mean(begun[: slots * fuse : fuse])
        plan = simulate(of, weight, slots, fuse)
        return Outcome(len(weight), ready - started, ended - ready, plan, cpu, memory)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident(pid: int | None = None) -> float:
    """Return the megabytes of memory that a process, by default this one, holds now; 0 if ended."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def claim(slots: int) -> None:
    """Let Ray believe that this machine has that many CPUs."""
    start = tune.ray.init

    def claimed(**settings: Any) -> Any:
        return start(**settings, num_cpus=slots)

    tune.ray.init = claimed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=75, help="of the large study: 162 trials each")
    parser.add_argument("--cases", type=int, nargs="+", default=[0, 1, 2, 3], help="of the four")
    options = parser.parse_args()
    claim(options.slots)
    commit, dirty = provenance.commit()
    state = " (changed)" if dirty else ""
    print("# What scheduling costs\n")
    print(f"    python -m benchmarks.scheduling {' '.join(sys.argv[1:])}\n")
    device = provenance.device_name(torch.device("cpu"))
    print(f"Commit {commit}{state}, {date.today()}, {device}.")
    print(
        f"Trials sleep; {options.slots} at once on {os.cpu_count()} cores. Start: mean time until a"
    )
    print(
        "slot begins its first trial (Ray, workers, imports). Cost per trial: the time beyond the"
    )
    print("simulated makespan, and the driver's CPU time.\n")
    print("| study | trials | start, s | rest, s | plan, s | rest/plan | cost per trial, s "
          "| driver CPU per trial, s | driver memory, MB |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    cases = {
        "10 s each": (study(2, even(10.0)), 1),
        "spread, mean 5 s": (study(2, spread(5.0)), 1),
        "spread, mean 1 s, arrays of 4": (study(4, spread(1.0)), 4),
        "1 s each": (study(options.seeds, even(1.0)), 1),
    }
    for name, (of, fuse) in [list(cases.items())[k] for k in options.cases]:
        found = measure(of, options.slots, fuse)
        expected = found.plan.makespan
        cost = (found.rest - expected) / found.trials
        print(
            f"| {name} | {found.trials:,} | {found.start:.1f} | {found.rest:.1f} | {expected:.1f} "
            f"| {found.rest / expected:.3f} | {cost:.3f} | {found.cpu / found.trials:.3f} "
            f"| {found.memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
