"""Simulate the whole study on many GPUs, and fill a real results folder with 100,000 rows.

The simulation is the one behind ``--plan``. A trial takes as long as trials of the same method,
task and regime in the rows of --results; without such rows, the number of examples gives an
expectation. A log-normal factor adds the spread those rows have around their means. The folder is
filled with copies of these rows, one per trial of a study with many seeds, as drivers would do.

    python -m benchmarks.scale --results DIR > benchmarks/scale.md
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aa_ray.core import architectures, backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.store import provenance
from aa_ray.store.rows import Store
from aa_ray.store.schema import FINISHED, Row, make_row
from aa_ray.study import forecast
from aa_ray.study.forecast import Forecast, Plan, duration, paths, simulate
from aa_ray.study.grid import Cell, Study
from aa_ray.study.queue import QUEUE_COLUMNS, TrialQueue, queue_row

GPUS = (1, 8, 64, 512)
PARTS = ("simulation", "folder")
LOW_DATA = ("100", "300", "500")
SEED = 0
CPU = torch.device("cpu")
REPEATS = 5  # draws of the trial times; medians are shown


def study(backbone: Backbone, regimes: tuple[str, ...], seeds: tuple[int, ...]) -> Study:
    """Return Tables 2 to 4 on all tasks."""
    return Study(
        methods=architectures.ALL_TABLES, tasks=tuple(tasks.TASKS), regimes=regimes, seeds=seeds,
        backbone=backbone, source=Source("embedded"), rates=backbones.RELEASED_RATES, epochs=20,
    )  # fmt: skip


def forecast_of(of: Study, rows: list[Row]) -> Forecast:
    found = Forecast(of)
    for row in rows:
        found.learn(row)
    return found


def spread(rows: list[Row], expected: Forecast) -> float:
    """Return the standard deviation of log(measured / expected seconds)."""
    factors = []
    for row in rows:
        cell = Cell(row["method"], row["task"], row["regime"], row["seed"])
        mean = expected.seconds(cell)
        if row["status"] == "finished" and mean:
            factors.append(math.log(forecast.seconds(row) / mean))
    return statistics.pstdev(factors)


def drawn(of: Study, expected: Forecast, width: float, draw: int) -> dict[Cell, float]:
    """Draw the seconds of each cell's trial. Cells known to share a trial count once.

    Which focused architectures will coincide is unknown beforehand, so all count as different.
    """
    rng = np.random.default_rng([SEED, draw])
    queue = TrialQueue(of, [])
    known = {trial.id: cell for cell in of.cells if (trial := queue.trial(cell))}
    left = [*known.values(), *(cell for cell in of.cells if queue.trial(cell) is None)]
    factors = np.exp(rng.normal(-width * width / 2, width, len(left)))
    return {c: expected.weight(c) * float(f) for c, f in zip(left, factors, strict=True)}


def median(plans: list[Plan]) -> Plan:
    """Return the plan with the median makespan."""
    return sorted(plans, key=lambda plan: plan.makespan)[len(plans) // 2]


def tell_gpus(of: Study, times: list[dict[Cell, float]]) -> None:
    longest = max(times[0], key=lambda cell: times[0][cell])
    print(f"{len(times[0]):,} training runs; the longest is {longest}.\n")
    print("| GPUs | makespan | GPUs in use | over the longest chain | over work / GPUs |")
    print("|---:|---:|---:|---:|---:|")
    for gpus in GPUS:
        plan = median([simulate(of, weight, gpus) for weight in times])
        print(
            f"| {gpus} | {duration(plan.makespan)} | {plan.busy / plan.makespan / gpus:.0%} "
            f"| {plan.makespan / plan.path:.2f}x | {plan.makespan / (plan.busy / gpus):.2f}x |"
        )
    print()


def orders(of: Study, expected: Forecast, weight: Mapping[Cell, float]) -> dict[str, Any]:
    """Return name -> (cell -> value known beforehand). Higher values start first."""
    known = {cell: expected.weight(cell) for cell in weight}
    chance = np.random.default_rng(SEED).random(len(weight))
    place = {cell: -k for k, cell in enumerate(of.grid())}
    return {
        "longest chain first (ours)": paths(of, known),
        "longest trial first": known,
        "in the order of the grid": {cell: place.get(cell, 0) for cell in weight},
        "by chance": dict(zip(weight, chance, strict=True)),
        "shortest trial first": {cell: -seconds for cell, seconds in known.items()},
    }  # fmt: skip


def tell_orders(of: Study, expected: Forecast, times: list[dict[Cell, float]]) -> None:
    print("| order | " + " | ".join(f"{gpus} GPUs" for gpus in GPUS[1:]) + " |")
    print("|---|" + "---:|" * (len(GPUS) - 1))
    for name, order in orders(of, expected, times[0]).items():
        found = []
        for gpus in GPUS[1:]:
            plan = median([simulate(of, weight, gpus, order=order) for weight in times])
            found.append(plan.makespan / max(plan.path, plan.busy / gpus))
        print(f"| {name} | " + " | ".join(f"{ratio:.2f}x" for ratio in found) + " |")
    print()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the time of the block and the process's peak memory so far."""
    started = time.perf_counter()
    yield
    taken = time.perf_counter() - started
    print(f"| {name} | {taken:.1f} | {provenance.peak_memory_bytes(CPU) / 1e6:,.0f} |", flush=True)


def fill(queue: TrialQueue, store: Store, templates: list[Row]) -> int:
    """Write a row for each trial of the queue as it becomes runnable."""
    for number in range(10**9):
        following = queue.next()
        if following is None:
            return number
        cell, trial = following
        template = templates[number % len(templates)]
        selected = template["selected_layers"] or [0]
        measured = {
            "method": cell.method, "selected_layers": selected if trial.switched else None,
            "train_seconds": 1.0 + number % 7, "test_seconds": 0.5,
        }  # fmt: skip
        row = make_row(template, trial.columns, FINISHED, measured)
        store.write([row])
        queue.record(queue_row([row]))
    raise AssertionError("not reached")


def size(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    used = sum(path.stat().st_blocks * 512 for path in files)
    return f"{len(files):,} file(s), {used / 1e6:,.0f} MB on disk"


def tell_folder(backbone: Backbone, templates: list[Row], rows: int) -> None:
    per_seed = len(study(backbone, LOW_DATA, architectures.SEEDS[:1]).cells)
    seeds = (architectures.FIRST_SEED, *range(1000, 1000 + rows // per_seed))
    of = study(backbone, LOW_DATA, seeds)
    print("| step | seconds | peak memory so far, MB |")
    print("|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        with step(f"an queue of {len(of.cells):,} cells"):
            queue = TrialQueue(of, [])
        with step("write the rows of all its trials, one file each"):
            written = fill(queue, store, templates)
        assert queue.complete
        del queue
        before = size(Path(folder))
        _continue(of, store, "")
        with step("compact"):
            store.compact()
        after = size(Path(folder))
        _continue(of, store, ", compacted")
        with step("all columns of all rows, compacted"):
            assert len(store.read()) == written
    print(f"\n{written:,} trials. One file each: {before}. Compacted: {after}.")


def _continue(of: Study, store: Store, how: str) -> None:
    """Do what a driver does when it finds everything finished."""
    with step(f"read what a driver needs{how}"):
        rows = store.read(QUEUE_COLUMNS).to_pylist()
    with step(f"the queue of a study that goes on{how}"):
        assert TrialQueue(of, rows).complete


def simulated(options: argparse.Namespace, backbone: Backbone) -> None:
    rows = Store(options.results).read([*QUEUE_COLUMNS, "seed"]).to_pylist()
    low, every = (study(backbone, r, architectures.SEEDS) for r in (LOW_DATA, (*LOW_DATA, "full")))
    expected = forecast_of(every, rows)
    width = spread(rows, expected)
    of_low, of_every = (
        [drawn(of, expected, width, draw) for draw in range(REPEATS)] for of in (low, every)
    )
    print("## Simulated: Tables 2 to 4, nine tasks, five seeds\n")
    print("A GPU here is a slot that runs one trial at a time, as fast as the")
    print(f"{len(rows)} measured trials of {backbone.identity} on {rows[0]['device']}.")
    print("Makespans depend on that speed; ratios and use do not. Measured times vary by")
    print(f"{math.exp(width):.2f}x (one standard deviation); medians of {REPEATS} draws.\n")
    print("### 100, 300 and 500 examples\n")
    tell_gpus(low, of_low)
    print("### The same, and full data with one seed\n")
    tell_gpus(every, of_every)
    print("### Orders\n")
    print("Makespan over its lower bound: the longest chain, or all work spread evenly over the")
    print("GPUs. First with 100, 300 and 500 examples, then with full data as well.\n")
    tell_orders(low, expected, of_low)
    tell_orders(every, expected, of_every)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True, help="rows of the backbone --backbone")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--rows", type=int, default=121_000, help="cells of its study")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    options = parser.parse_args()
    backbone = backbones.find(options.backbone)
    commit, dirty = provenance.commit()
    print("# The study on many GPUs, and many rows\n")
    print("    python -m benchmarks.scale --results DIR\n")
    state = " (changed)" if dirty else ""
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(CPU)}.\n")
    if "simulation" in options.parts:
        simulated(options, backbone)
    if "folder" in options.parts:
        print("## Measured: many rows in a folder\n")
        templates = Store(options.results).read().to_pylist()
        tell_folder(backbone, templates, options.rows)


if __name__ == "__main__":
    main()
