"""Do long runs leak? Watches a worker over many trials, and drivers over very many.

The worker trains real trials one after the other in one process. The simulated day is the
simulator's (tests/simulator): real driver, workers' code and store, with a virtual clock and a
stand-in for Ray and for training. The driver runs a study with real Ray Tune, and its trials sleep
instead of training. Each part prints a table whose lines are measured while it runs.

    python -m benchmarks.long_runs worker --trials 400 > benchmarks/long_runs.md
    python -m benchmarks.long_runs simulated --trials 100000 >> benchmarks/long_runs.md
    python -m benchmarks.long_runs driver --trials 10000 >> benchmarks/long_runs.md
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import date
from pathlib import Path

import torch

from aa_ray import make_trial
from aa_ray.core import backbones
from aa_ray.data.glue import Source
from aa_ray.store import provenance
from aa_ray.store.rows import Store
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import session, tune
from aa_ray.sweep.resources import Resources
from aa_ray.training import api, device
from aa_ray.training.worker import Worker
from benchmarks import machine, scheduling
from benchmarks.scheduling import resident
from tests.simulator.long_run import LongRun, Sample, check
from tests.simulator.plan import ROOT

LINES = 20  # of a table, about
METHODS = ("aa", "baseline", "rational-only", "switch-only")
TASKS = ("sst2", "cola", "stsb", "rte")


def open_files(pid: int) -> int:
    """Return the number of open files of a process; 0 if it has ended."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def size(folder: Path) -> float:
    """Return the megabytes of all files in a folder."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    return total / 1e6


def table(*columns: str) -> None:
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}", flush=True)


def row(*cells: float) -> None:
    print(f"| {' | '.join(f'{cell:,.0f}' for cell in cells)} |", flush=True)


def watch_worker(trials: int, data: str, backbone: str) -> None:
    """Train trials of several methods and tasks in this process, with a results folder."""
    commit, dirty = provenance.commit()
    print("# Long runs\n\nMemory is resident memory.\n\n## A worker\n")
    print(f"    python -m benchmarks.long_runs worker --trials {trials}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {machine.features()}.")
    print(f"{backbone}, 100 examples and one epoch per trial; {len(METHODS)} methods and "
          f"{len(TASKS)} tasks in turn, one thread.\n")  # fmt: skip
    table("trials", "memory, MB", "open files")
    torch.set_num_threads(1)
    encoder, source = backbones.find(backbone), Source.named(data)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        worker = Worker(encoder, source, provenance.commit(), store.folder)
        for number in range(trials):
            method = METHODS[number % len(METHODS)]
            task = TASKS[number // len(METHODS) % len(TASKS)]
            trial = make_trial(
                method, task, regime="100", seed=number, epochs=1, backbone=backbone, data=data
            )
            api.run_in_store(worker, trial, method, store)
            device.trim()  # as Ray's workers do
            if (number + 1) % max(1, trials // LINES) == 0:
                row(number + 1, resident(os.getpid()), open_files(os.getpid()))


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, directly or not."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            status = (entry / "stat").read_text()
            parents[int(entry.name)] = int(status.rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@contextmanager
def sampled(sample: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function repeatedly in a thread while the context lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            sample()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def watch_simulation(trials: int, hours: float) -> None:
    """Run a simulated study in which workers are killed and clocks are set."""
    commit, dirty = provenance.commit()
    print("\n## A simulated day\n")
    print(f"    python -m benchmarks.long_runs simulated --trials {trials}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {machine.features()}.")
    print("Memory is that of one process with the driver, all workers and the simulator, which")
    print("remembers when each trial finished. Before each reading, free memory goes back to the")
    print("system. Rows are compacted twice.\n")
    table("hour", "trials", "memory, MB", "open files", "files of the study", "printed, kB")
    out = sys.stdout  # which the simulator redirects

    def sample(taken: Sample) -> None:
        with redirect_stdout(out):
            hour, finished, files, printed = taken
            machine.give_back()
            row(hour, finished, resident(os.getpid()), open_files(os.getpid()), files, printed)

    with tempfile.TemporaryDirectory() as folder:
        run = LongRun(trials, Path(folder), hours, sample)
        run.run_long()
        ids = Store(f"{folder}/{ROOT}").read(["trial_id"])["trial_id"].to_pylist()
        check(run, ids)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(run.world.counts.items()))
    print(f"\n{len(ids):,} trials, {run.slots} at once, one row each. Faults: {counts}.")


def watch_driver(trials: int, slots: int) -> None:
    """Run a study of trials that take no time."""
    per_seed = 162
    of = scheduling.study(max(1, round(trials / per_seed)), scheduling.even(0.0))
    commit, dirty = provenance.commit()
    print("\n## A driver, and Ray\n")
    print(f"    python -m benchmarks.long_runs driver --trials {trials}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {machine.features()}.")
    print(f"{slots} at once. Workers: mean over Ray's workers. Ray: its other processes. Folder:")
    print(
        "what Ray and Tune keep in the run's folder, logs included. Shared: Ray's object store.\n"
    )
    table("trials", "driver, MB", "its open files", "workers, MB", "Ray, MB", "folder, MB",
          "shared, MB")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        queue = TrialQueue(of, [])
        last = [0]

        def sample() -> None:
            finished = queue.counts()["finished"]
            if finished - last[0] >= trials / LINES:
                last[0] = finished
                row(finished, *state())

        with sampled(sample, 1.0):
            tune.run_study(queue, store, Resources(fuse=1), actor=scheduling.SleepingActor)
        if not queue.complete or queue.failures():
            raise SystemExit("the study did not finish")


def state() -> tuple[float, ...]:
    """Return the columns of the driver's table."""
    below = descendants(os.getpid())
    workers = [pid for pid in below if "ray::" in command(pid)]
    rest = [pid for pid in below if pid not in workers]
    [folder] = [
        path for path in Path(tempfile.gettempdir()).glob(f"{session.PREFIX}*")
        if json.loads((path / session._OWNER).read_text())["pid"] == os.getpid()
    ]  # fmt: skip
    total, free = tune.ray.cluster_resources(), tune.ray.available_resources()
    store = "object_store_memory"
    return (
        resident(os.getpid()), open_files(os.getpid()),
        sum(map(resident, workers)) / max(1, len(workers)), sum(map(resident, rest)),
        size(folder), (total.get(store, 0) - free.get(store, 0)) / 1e6,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("worker", "simulated", "driver"))
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--hours", type=float, default=24.0, help="of the simulation")
    parser.add_argument("--slots", type=int, default=4, help="trials of the driver at once")
    options = parser.parse_args()
    if options.part == "worker":
        watch_worker(options.trials, options.data, options.backbone)
    elif options.part == "simulated":
        watch_simulation(options.trials, options.hours)
    else:
        scheduling.claim(options.slots)
        watch_driver(options.trials, options.slots)


if __name__ == "__main__":
    main()
