"""One Baseline trial of ours against the same trial by AdapterHub's own AdapterTrainer.

The peer does as AdapterHub's GLUE example and the released code do: every text padded to 128
tokens, an evaluation after each epoch, the best checkpoint on disk and loaded for the test. Same
backbone, examples, epochs, batch size, learning rate and decay. Each trial is a process of its own;
the two alternate, task by task.

    pip install 'accelerate>=1.10,<2'
    python benchmarks/peer_trial.py --data DIR > benchmarks/peer_trial.md
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from typing import Any

import numpy as np
import torch

from aa_ray import backbones, provenance, tasks
from aa_ray.data import Official, Source, split
from aa_ray.trial import Trial

SEED = 42


class Shortened(Source):
    """A source whose test sets are cut to so many examples."""

    most = 1000

    def load(self, name: str) -> Official:
        official = super().load(name)
        return official._replace(test=official.test.slice(0, self.most))


def ours(options: argparse.Namespace, source: Source) -> float:
    """Our worker's test metric."""
    from aa_ray.worker import Worker

    backbone = backbones.find(options.backbone)
    trial = Trial(
        task=options.task, regime="100", seed=SEED, backbone=backbone.identity,
        data=source.identity(options.task), layers=tuple(range(backbone.num_layers)),
        activation="relu", switched=False, inference_depths=None,
        learning_rate=backbone.own_rates.adapter, rational_learning_rate=0.01,
        switch_learning_rate=0.05, epochs=options.epochs,
    )  # fmt: skip
    [[row]] = Worker(backbone, source, (None, None)).run([trial], ["baseline"])
    if row["status"] != "finished":
        raise SystemExit(row["error"])
    return float(row["test_metric"])


def peer(options: argparse.Namespace, source: Source) -> float:
    """AdapterTrainer's test metric."""
    from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainingArguments

    task, backbone = tasks.get(options.task), backbones.find(options.backbone)
    splits = split(source.load(options.task), "100", SEED)
    tokenizer = AutoTokenizer.from_pretrained(backbone.path)

    def encoded(table: Any) -> Dataset:
        texts = [table[column].to_pylist() for column in task.texts]
        fields = tokenizer(*texts, padding="max_length", truncation=True, max_length=128)
        return Dataset.from_dict({**fields, "labels": table["label"].to_pylist()})

    def metrics(found: Any) -> dict[str, float]:
        logits = np.asarray(found.predictions).reshape(len(found.label_ids), -1)
        return task.scores(found.label_ids, logits)

    torch.manual_seed(SEED)
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
            seed=SEED,
        )
        trainer = AdapterTrainer(
            model=model,
            args=arguments,
            train_dataset=encoded(splits.train),
            eval_dataset=encoded(splits.development),
            compute_metrics=metrics,
        )
        trainer.train()
        return float(trainer.evaluate(encoded(splits.test))[f"eval_{task.metrics[0]}"])


def measure(side: str, options: argparse.Namespace, task: str) -> dict[str, float]:
    """CPU seconds, wall seconds, peak megabytes and test metric of one trial in its own process."""
    command = [
        sys.executable, __file__, "--data", options.data, "--backbone", options.backbone,
        "--epochs", str(options.epochs), "--tests", str(options.tests), "--task", task,
        "--side", side,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} on {task} failed")
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.perf_counter() - started,
        "memory": usage.ru_maxrss / 1000,
        "metric": json.loads(said.splitlines()[-1]),
    }


def report(options: argparse.Namespace) -> None:
    """Measure every task and print the table, as Markdown."""
    commit, dirty = provenance.commit()
    state = " (changed)" if dirty else ""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print("# One trial against AdapterTrainer\n")
    print(f"    python benchmarks/peer_trial.py {' '.join(sys.argv[1:])}\n")
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(device)}.")
    print(f"Baseline, {options.backbone}, 100 examples, {options.epochs} epochs, seed {SEED},")
    print(f"{options.threads} thread(s), test sets of at most {options.tests} examples.")
    print("Ours / AdapterTrainer; start of the process and loading of the model included.\n")
    print("| task | CPU, s | ratio | wall, s | ratio | peak memory, MB | test metric x 100 |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for task in options.tasks:
        a, b = (measure(side, options, task) for side in ("ours", "peer"))
        print(
            f"| {tasks.get(task).title} | {a['cpu']:.0f} / {b['cpu']:.0f} "
            f"| {b['cpu'] / a['cpu']:.1f} | {a['wall']:.0f} / {b['wall']:.0f} "
            f"| {b['wall'] / a['wall']:.1f} | {a['memory']:.0f} / {b['memory']:.0f} "
            f"| {100 * a['metric']:.1f} / {100 * b['metric']:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--tests", type=int, default=1000, help="test examples (default: 1000)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is None:
        report(options)
        return
    Shortened.most = options.tests
    source = Shortened(Source.named(options.data).location)
    print(json.dumps({"ours": ours, "peer": peer}[options.side](options, source)))


if __name__ == "__main__":
    main()
