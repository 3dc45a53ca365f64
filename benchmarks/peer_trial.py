"""Compare a Baseline trial of ours with the same trial by AdapterHub's AdapterTrainer, on a CPU.

The peer follows AdapterHub's GLUE example and the released code: it evaluates after each epoch,
saves the best checkpoint to disk, and loads it for the test. It pads every text to 128 tokens, as
the released code does, and in a second run to the longest of the batch, as one would today.
Backbone, head, examples, epochs, batch size, learning rate and decay are the same. Each trial runs
in its own process. The sides alternate, task by task and seed by seed. Times exclude imports.

A second table repeats this with libraries limited to AVX2, as on older processors. These cannot
multiply in bfloat16, so bf16 is left out.

    pip install 'accelerate>=1.10,<2'
    python -m benchmarks.peer_trial --data DIR > benchmarks/peer_trial.md
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import torch

from aa_ray.core import backbones, heads
from aa_ray.data import tasks
from aa_ray.data.glue import Official, Source, split
from aa_ray.report.statistics import half_interval, mean
from aa_ray.store import provenance
from aa_ray.trial import Trial
from benchmarks import machine

# Ours, by precision; and AdapterTrainer, by what it pads a text to.
OURS = ("fp32", "bf16")
PEERS = {"to longest": "the batch's longest", "to 128": "128 tokens"}
NOTHING = "nothing"  # imports the libraries, loads the backbone, and trains nothing

Measured = dict[str, Any]


class Way(NamedTuple):
    """What libraries may use of the processor.

    Attributes:
        sides: the sides to measure.
        environment: variables that impose the restriction.
    """

    title: str
    sides: tuple[str, ...]
    environment: dict[str, str]


WAYS = {
    "all": Way("All that the processor has", (*OURS, *PEERS), {}),
    "avx2": Way("AVX2 at most", ("fp32", *PEERS), machine.AVX2_ONLY),
}


class Shortened(Source):
    """A source whose test sets are cut to this many examples."""

    most = 1000

    def load(self, name: str, planned: str | None = None, keep: bool = True) -> Official:
        official = super().load(name, planned, keep)
        return official._replace(test=official.test.slice(0, self.most))


def ours(options: argparse.Namespace, source: Source) -> Callable[[], float]:
    """Return a function that gives our worker's test metric."""
    from aa_ray.training.worker import Worker

    backbone = backbones.find(options.backbone)
    trial = Trial(
        task=options.task, regime="100", seed=options.seed, backbone=backbone.identity,
        data=source.identity(options.task), layers=tuple(range(backbone.num_layers)),
        activation="relu", switched=False, inference_depths=None,
        learning_rate=backbone.own_rates.adapter, rational_learning_rate=0.01,
        switch_learning_rate=0.05, epochs=options.epochs, precision=options.side,
        pooling=backbone.pooling,
    )  # fmt: skip

    def work() -> float:
        [[row]] = Worker(backbone, source, (None, None)).run([trial], ["baseline"])
        if row["status"] != "finished":
            raise SystemExit(row["error"])
        return float(row["test_metric"])

    return work


def peer(options: argparse.Namespace, source: Source) -> Callable[[], float]:
    """Return a function that gives AdapterTrainer's test metric."""
    from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments

    padding = "max_length" if options.side == "to 128" else False
    task, backbone = tasks.get(options.task), backbones.find(options.backbone)

    def encoded(tokenizer: Any, table: Any) -> Dataset:
        texts = [table[column].to_pylist() for column in task.texts]
        fields = tokenizer(*texts, padding=padding, truncation=True, max_length=128)
        return Dataset.from_dict({**fields, "labels": table["label"].to_pylist()})

    def metrics(found: Any) -> dict[str, float]:
        logits = np.asarray(found.predictions).reshape(len(found.label_ids), -1)
        return task.scores(found.label_ids, logits)

    def work() -> float:
        splits = split(source.load(options.task), "100", options.seed)
        tokenizer = AutoTokenizer.from_pretrained(backbone.path)
        torch.manual_seed(options.seed)
        model = AutoAdapterModel.from_pretrained(backbone.path)
        pooler = heads.has_pooler(model)
        heads.add_head(model, "trial", task.outputs, None, backbone.pooling, pooler)
        model.add_adapter("trial", config=SeqBnConfig(reduction_factor=16))
        model.train_adapter("trial")
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=32,
                num_train_epochs=options.epochs,
                learning_rate=backbone.own_rates.adapter,
                weight_decay=0.0,
                eval_strategy="epoch",
                save_strategy="epoch",
                save_total_limit=1,
                load_best_model_at_end=True,
                metric_for_best_model=task.metrics[0],
                report_to=[],
                disable_tqdm=True,
                seed=options.seed,
            )
            trainer = AdapterTrainer(
                model=model,
                args=arguments,
                train_dataset=encoded(tokenizer, splits.train.taken()),
                eval_dataset=encoded(tokenizer, splits.development.taken()),
                data_collator=DataCollatorWithPadding(tokenizer),
                compute_metrics=metrics,
            )
            trainer.train()
            return float(
                trainer.evaluate(encoded(tokenizer, splits.test.taken()))[f"eval_{task.metrics[0]}"]
            )

    return work


def measure(way: Way, side: str, options: argparse.Namespace, task: str, seed: int) -> Measured:
    """Run one trial in its own process; return CPU and wall seconds, peak MB and test metric."""
    command = [
        sys.executable, "-m", "benchmarks.peer_trial",
        "--data", options.data, "--backbone", options.backbone,
        "--epochs", str(options.epochs), "--tests", str(options.tests), "--task", task,
        "--seed", str(seed), "--side", side,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)} | way.environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} on {task} failed")
    measured: Measured = json.loads(said.splitlines()[-1])
    return measured | {"memory": usage.ru_maxrss / 1000}


def run_side(options: argparse.Namespace, source: Source) -> Measured:
    """Run one side's trial in this process and return its times and metric."""
    if options.side == NOTHING:
        return _load_only(options)
    work = (ours if options.side in OURS else peer)(options, source)
    wall, cpu = time.perf_counter(), time.process_time()
    metric = work()
    return {
        "metric": metric,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "computes": machine.in_use(),
    }


def _load_only(options: argparse.Namespace) -> Measured:
    """Do what comes before any trial, ours or the peer's."""
    import adapters  # noqa: F401

    from aa_ray.core import model
    from aa_ray.training import worker  # noqa: F401

    model.load(backbones.find(options.backbone).path)
    return {}


def report(options: argparse.Namespace) -> None:
    """Measure every task and seed and print the tables as Markdown."""
    commit, dirty = provenance.commit()
    arguments = " ".join(sys.argv[1:]).replace(options.data, "DIR")
    print("# One trial against AdapterTrainer\n")
    print(f"    python -m benchmarks.peer_trial {arguments}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {machine.features()}.")
    print(f"Baseline, {options.backbone}, 100 examples, {options.epochs} epochs,")
    print(f"{options.threads} thread(s), test sets of at most {options.tests} examples; medians")
    print(f"over these seeds: {' '.join(map(str, options.seeds))}. In a cell: ours in")
    print("fp32, ours in bf16 (where it is measured), AdapterTrainer in fp32 padded to the batch's")
    print(
        "longest text, and padded to 128 tokens. CPU and wall time in seconds, peak memory in MB."
    )
    print(f"Both have the same head on {backbones.find(options.backbone).pooling} pooling.")
    for name in options.ways:
        way = WAYS[name]
        sides = tuple(side for side in way.sides if side in options.sides)
        _report_way(way._replace(sides=sides), options)


def _report_way(way: Way, options: argparse.Namespace) -> None:
    """Print the tables for one set of processor features."""
    print(f"\n## {way.title}\n")
    print(f"| task | {' / '.join(way.sides)}: CPU | wall | peak memory | test metric x 100 |")
    print("|---|---:|---:|---:|---:|")
    medians: dict[str, dict[str, dict[str, float]]] = {}  # by task, figure and side
    metrics: dict[str, dict[str, list[float]]] = {}
    computes = set()
    for task in options.tasks:
        found = [
            {side: measure(way, side, options, task, seed) for side in way.sides}
            for seed in options.seeds
        ]
        computes |= {str(of_seed[side]["computes"]) for of_seed in found for side in way.sides}
        values = {
            name: {side: [float(f[side][name]) for f in found] for side in way.sides}
            for name in ("cpu", "wall", "memory", "metric")
        }
        metrics[task] = {s: [100 * v for v in of] for s, of in values["metric"].items()}
        medians[task] = {
            name: {side: statistics.median(of) for side, of in of_sides.items()}
            for name, of_sides in values.items()
        }
        print(f"| {tasks.get(task).title} | {' | '.join(_cells(medians[task]))} |", flush=True)
    print(f"\nComputed with {'; '.join(sorted(computes))}.")
    loaded = measure(way, NOTHING, options, options.tasks[0], options.seeds[0])["memory"]
    print(f"Libraries and the loaded backbone alone take {loaded:.0f} MB.")
    _ratios(way, medians, loaded)
    if len(options.seeds) > 1:
        for other in (side for side in way.sides if side in PEERS):
            _compare(way, other, metrics)


def _cells(of_task: dict[str, dict[str, float]]) -> list[str]:
    """Return each figure's medians side by side."""
    styles = {"cpu": (1, 1), "wall": (1, 1), "memory": (1, 0), "metric": (100, 1)}
    return [
        " / ".join(f"{scale * value:.{digits}f}" for value in of_task[name].values())
        for name, (scale, digits) in styles.items()
    ]


def _ratios(way: Way, medians: dict[str, dict[str, dict[str, float]]], loaded: float) -> None:
    """Print how much more AdapterTrainer needs: geometric means over the tasks."""
    print("\nHow many times as much AdapterTrainer takes, geometric means over the tasks:\n")
    print("| ours | padded to | CPU | wall | peak memory | beyond libraries and backbone |")
    print("|---|---|---:|---:|---:|---:|")
    figures = [("cpu", 0.0), ("wall", 0.0), ("memory", 0.0), ("memory", loaded)]
    for side in (side for side in way.sides if side in OURS):
        for other in (side for side in way.sides if side in PEERS):
            means = [
                statistics.geometric_mean(
                    [(of[name][other] - base) / (of[name][side] - base) for of in medians.values()]
                )
                for name, base in figures
            ]
            print(f"| {side} | {PEERS[other]} | {' | '.join(f'{value:.1f}' for value in means)} |")


def _compare(way: Way, other: str, metrics: dict[str, dict[str, list[float]]]) -> None:
    """Print the differences of the test metrics, paired by seed."""
    sides = [side for side in way.sides if side in OURS]
    print(f"\nTest metric x 100, ours minus AdapterTrainer's (padded to {PEERS[other]}), paired by")
    print("seed; 95 % intervals:\n")
    print(f"| task | {' | '.join(sides)} |")
    print(f"|---|{'---:|' * len(sides)}")
    for task, of_side in metrics.items():
        cells = []
        for side in sides:
            pairs = zip(of_side[side], of_side[other], strict=True)
            differences = [a - b for a, b in pairs]
            cells.append(f"{mean(differences):+.1f} ± {half_interval(differences):.1f}")
        print(f"| {tasks.get(task).title} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--tests", type=int, default=1000, help="test examples (default: 1000)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS),
                        help="what libraries may use of the processor (default: both)")  # fmt: skip
    sides = (*OURS, *PEERS)
    parser.add_argument("--sides", nargs="+", choices=sides, default=sides)
    for name in ("--task", "--seed", "--side"):  # of one trial's process
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is None:
        report(options)
        return
    options.seed = int(options.seed)
    Shortened.most = options.tests
    source = Shortened(Source.named(options.data).location)
    print(json.dumps(run_side(options, source)))


if __name__ == "__main__":
    main()
