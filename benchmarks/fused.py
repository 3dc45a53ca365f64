"""K trials side by side, against one after the other and against processes that share the device.

The trials are seeds and architectures of a Table 2 cell: one task with 100 examples. The ways
alternate, so other load on the machine affects all of them. On a CPU each way uses all --threads
cores: as threads side by side and one by one, as one core per process otherwise.

    python -m benchmarks.fused --data DIR --task cola > benchmarks/fused.md
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial

import torch

from aa_ray.core import architectures, backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.store import provenance
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

_worker: Worker  # of a process of the pool


def cell(backbone: Backbone, source: Source, task: str, epochs: int) -> list[Trial]:
    """Per seed: Baseline, AA, Rational-only, and AA-focused^sim on the upper half of the layers."""
    every = tuple(range(backbone.num_layers))
    upper = every[len(every) // 2 :]
    kinds = [("relu", False, every), ("rational:one", True, every), ("rational:one", False, every),
             ("rational:one", False, upper)]  # fmt: skip
    rates = backbone.own_rates
    return [
        Trial(
            task=task, regime="100", seed=seed, backbone=backbone.identity,
            data=source.identity(task), layers=layers, activation=activation, switched=switched,
            inference_depths=None, learning_rate=rates.adapter,
            rational_learning_rate=rates.rational, switch_learning_rate=rates.switch,
            epochs=epochs,
        )
        for seed in architectures.SEEDS
        for activation, switched, layers in kinds
    ]  # fmt: skip


def prepare(backbone: Backbone, source: Source, threads: int) -> None:
    """Load this process's copy of the backbone."""
    global _worker
    torch.set_num_threads(threads)
    _worker = Worker(backbone, source, (None, None))


def run(trials: Sequence[Trial]) -> None:
    """Train and test the trials as one array."""
    for rows in _worker.run(trials, [""] * len(trials)):
        if rows[0]["status"] != "finished":
            raise SystemExit(f"a trial failed: {rows[0]['error']}")


def run_all(every: list[list[Trial]]) -> None:
    """Run the arrays one after the other."""
    for trials in every:
        run(trials)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def arrays(trials: list[Trial], size: int) -> list[list[Trial]]:
    return [trials[start : start + size] for start in range(0, len(trials), size)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20, help="of the cell's 20 (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 10, 20])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="cores, and processes (default: 2)")
    options = parser.parse_args()
    backbone, source = backbones.find(options.backbone), Source.named(options.data)
    trials = cell(backbone, source, options.task, options.epochs)[: options.trials]
    prepare(backbone, source, options.threads)
    settings = (backbone, source, 1)
    # A process that is forked after CUDA has been started here could not use it.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.threads, spawned, prepare, settings) as pool:
        ways: dict[str, Callable[[], object]] = {
            f"arrays of {size}": partial(run_all, arrays(trials, size)) for size in options.sizes
        }
        processes = partial(pool.map, run, arrays(trials, 1))
        ways[f"{options.threads} processes, one by one"] = lambda: list(processes())
        list(pool.map(run, arrays(trials[: options.threads], 1)))  # loads the backbones
        run(trials[:1])
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, work in ways.items():
                taken[name].append(seconds(work))
    report(options, taken, len(trials), backbone)


def report(
    options: argparse.Namespace, taken: dict[str, list[float]], count: int, backbone: Backbone
) -> None:
    """Print the table as Markdown."""
    commit, dirty = provenance.commit()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = statistics.median(next(iter(taken.values())))
    print("# Trials side by side\n")
    print(f"    python -m benchmarks.fused --data DIR --task {options.task}\n")
    state = " (changed)" if dirty else ""
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(device)}.")
    print(f"{count} trials of {backbone.identity} on {options.task} with 100 examples,")
    print(f"{options.epochs} epochs; medians of {options.repeats} alternating repeats.\n")
    print("| way | seconds | per trial | against the first |")
    print("|---|---:|---:|---:|")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.1f} | {median / count:.2f} | {base / median:.2f}x |")


if __name__ == "__main__":
    main()
