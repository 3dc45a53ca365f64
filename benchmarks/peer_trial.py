"""One Baseline trial of ours, in fp32 and bf16, against the same by AdapterHub's AdapterTrainer.

The peer does as AdapterHub's GLUE example and the released code do: every text padded to 128
tokens, an evaluation after each epoch, the best checkpoint on disk and loaded for the test. Same
backbone, examples, epochs, batch size, learning rate and decay. Each trial is a process of its own;
the three alternate, task by task and seed by seed. Times are without the imports.

    pip install 'accelerate>=1.10,<2'
    python benchmarks/peer_trial.py --data DIR > benchmarks/peer_trial.md
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
from typing import Any

import numpy as np
import torch

from aa_ray.core import backbones
from aa_ray.data import tasks
from aa_ray.data.glue import Official, Source, split
from aa_ray.report.statistics import half_interval, mean
from aa_ray.store import provenance
from aa_ray.trial import Trial

SIDES = ("fp32", "bf16", "peer")


class Shortened(Source):
    """A source whose test sets are cut to so many examples."""

    most = 1000

    def load(self, name: str, planned: str | None = None) -> Official:
        official = super().load(name, planned)
        return official._replace(test=official.test.slice(0, self.most))


def ours(options: argparse.Namespace, source: Source) -> Callable[[], float]:
    """What gives our worker's test metric."""
    from aa_ray.training.worker import Worker

    backbone = backbones.find(options.backbone)
    trial = Trial(
        task=options.task, regime="100", seed=options.seed, backbone=backbone.identity,
        data=source.identity(options.task), layers=tuple(range(backbone.num_layers)),
        activation="relu", switched=False, inference_depths=None,
        learning_rate=backbone.own_rates.adapter, rational_learning_rate=0.01,
        switch_learning_rate=0.05, epochs=options.epochs, precision=options.side,
    )  # fmt: skip

    def work() -> float:
        [[row]] = Worker(backbone, source, (None, None)).run([trial], ["baseline"])
        if row["status"] != "finished":
            raise SystemExit(row["error"])
        return float(row["test_metric"])

    return work


def peer(options: argparse.Namespace, source: Source) -> Callable[[], float]:
    """What gives AdapterTrainer's test metric."""
    from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainingArguments

    task, backbone = tasks.get(options.task), backbones.find(options.backbone)

    def encoded(tokenizer: Any, table: Any) -> Dataset:
        texts = [table[column].to_pylist() for column in task.texts]
        fields = tokenizer(*texts, padding="max_length", truncation=True, max_length=128)
        return Dataset.from_dict({**fields, "labels": table["label"].to_pylist()})

    def metrics(found: Any) -> dict[str, float]:
        logits = np.asarray(found.predictions).reshape(len(found.label_ids), -1)
        return task.scores(found.label_ids, logits)

    def work() -> float:
        splits = split(source.load(options.task), "100", options.seed)
        tokenizer = AutoTokenizer.from_pretrained(backbone.path)
        torch.manual_seed(options.seed)
        model = AutoAdapterModel.from_pretrained(backbone.path)
        model.add_classification_head("trial", num_labels=task.outputs)
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
                train_dataset=encoded(tokenizer, splits.train),
                eval_dataset=encoded(tokenizer, splits.development),
                compute_metrics=metrics,
            )
            trainer.train()
            return float(
                trainer.evaluate(encoded(tokenizer, splits.test))[f"eval_{task.metrics[0]}"]
            )

    return work


def measure(side: str, options: argparse.Namespace, task: str, seed: int) -> dict[str, float]:
    """CPU and wall seconds, peak megabytes and test metric of one trial in its own process."""
    command = [
        sys.executable, __file__, "--data", options.data, "--backbone", options.backbone,
        "--epochs", str(options.epochs), "--tests", str(options.tests), "--task", task,
        "--seed", str(seed), "--side", side,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} on {task} failed")
    measured: dict[str, float] = json.loads(said.splitlines()[-1])
    return measured | {"memory": usage.ru_maxrss / 1000}


def run_side(options: argparse.Namespace, source: Source) -> dict[str, float]:
    """Times and metric of one side's trial in this process."""
    work = (peer if options.side == "peer" else ours)(options, source)
    wall, cpu = time.perf_counter(), time.process_time()
    metric = work()
    return {
        "metric": metric,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
    }


def report(options: argparse.Namespace) -> None:
    """Measure every task and seed and print the tables, as Markdown."""
    commit, dirty = provenance.commit()
    state = " (changed)" if dirty else ""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments = " ".join(sys.argv[1:]).replace(options.data, "DIR")
    print("# One trial against AdapterTrainer\n")
    print(f"    python benchmarks/peer_trial.py {arguments}\n")
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(device)}.")
    print(f"Baseline, {options.backbone}, 100 examples, {options.epochs} epochs,")
    print(f"{options.threads} thread(s), test sets of at most {options.tests} examples.")
    print("Ours in fp32 / ours in bf16 / AdapterTrainer (fp32); medians over the seeds")
    print(f"{' '.join(map(str, options.seeds))}. Ratios are against AdapterTrainer.\n")
    print("| task | CPU, s | ratio | wall, s | ratio | peak memory, MB | test metric x 100 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    ratios: dict[str, list[tuple[float, float]]] = {"cpu": [], "wall": []}
    metrics = {}
    for task in options.tasks:
        found = [{s: measure(s, options, task, seed) for s in SIDES} for seed in options.seeds]
        metrics[task] = {s: [100 * of_seed[s]["metric"] for of_seed in found] for s in SIDES}
        cells = []
        for name, digits in (("cpu", 1), ("wall", 1), ("memory", 0), ("metric", 1)):
            scale = 100 if name == "metric" else 1
            medians = [scale * statistics.median(f[s][name] for f in found) for s in SIDES]
            cells.append(" / ".join(f"{value:.{digits}f}" for value in medians))
            if name in ratios:
                ratios[name].append((medians[2] / medians[0], medians[2] / medians[1]))
                cells.append(" / ".join(f"{ratio:.1f}" for ratio in ratios[name][-1]))
        print(f"| {tasks.get(task).title} | {' | '.join(cells)} |", flush=True)
    for name, of_tasks in ratios.items():
        means = [statistics.geometric_mean(column) for column in zip(*of_tasks, strict=True)]
        print(f"\n{name}: {means[0]:.1f} and {means[1]:.1f} times, geometric means over the tasks.")
    if len(options.seeds) > 1:
        _compare(metrics)


def _compare(metrics: dict[str, dict[str, list[float]]]) -> None:
    """Differences of the test metrics, paired by seed."""
    print("\nTest metric x 100, ours less AdapterTrainer's, paired by seed; 95 % intervals:\n")
    print("| task | fp32 | bf16 |")
    print("|---|---:|---:|")
    for task, of_side in metrics.items():
        cells = []
        for side in SIDES[:2]:
            pairs = zip(of_side[side], of_side["peer"], strict=True)
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
