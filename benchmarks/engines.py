"""Compare both engines with AdapterHub's AdapterTrainer, padded to the batch's longest and to 128.

Each contender trains Baseline on the same examples in its own process, which lives through the
whole measurement. The contenders take turns epoch by epoch, so other load on the machine affects
all of them. The CPU time of an epoch counts: forward, backward, optimiser and batches. Startup,
tokenization and evaluation are excluded, and AdapterTrainer neither saves nor logs.

    pip install 'accelerate>=1.10,<2'
    python -m benchmarks.engines --data DIR > benchmarks/engines.md
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from aa_ray.core import backbones, encoders
from aa_ray.core.engines import ADAPTERHUB, FUSED
from aa_ray.data import batches, tasks
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Source, split
from aa_ray.store import provenance

LONGEST, TO_128 = "AdapterTrainer, longest", "AdapterTrainer, 128"
CONTENDERS = (FUSED, ADAPTERHUB, LONGEST, TO_128)
BATCH, MOST_TOKENS = 32, 128


class Job(NamedTuple):
    """What every contender trains."""

    path: str  # of the model
    examples: Examples
    outputs: int
    rate: float
    rounds: int
    threads: int


def run_engine(name: str, job: Job, turn: Callable[[], None]) -> None:
    """Train with an engine. ``turn`` is called before each epoch and after the last."""
    from aa_ray.core import model
    from aa_ray.training import engine, loop
    from aa_ray.training.cpu_layers import freeze
    from aa_ray.training.trainer import Parts, TrialTrainer
    from aa_ray.trial import Trial

    encoder = freeze(model.load(job.path))
    layers = encoders.num_layers(encoder)
    task = next(task for task in tasks.TASKS.values() if task.outputs == job.outputs)
    trial = Trial(
        task=task.name, regime="100", seed=42, backbone="", data="", layers=tuple(range(layers)),
        activation="relu", switched=False, inference_depths=None, learning_rate=job.rate,
        rational_learning_rate=0.01, switch_learning_rate=0.05, epochs=job.rounds,
    )  # fmt: skip
    [trial_model] = model.attach(encoder, [trial], job.outputs)
    trainer = TrialTrainer(trial_model, task, Parts(job.examples, job.examples), layers)
    for epoch in range(1, job.rounds + 1):
        turn()
        loop.train_epoch(engine.make(name, encoder), [trainer], epoch)
    turn()


def run_trainer(name: str, job: Job, turn: Callable[[], None]) -> None:
    """Train the same job with AdapterTrainer."""
    from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig
    from transformers import PrinterCallback, TrainerCallback, TrainingArguments

    torch.manual_seed(42)
    model = AutoAdapterModel.from_pretrained(job.path)
    model.add_classification_head("trial", num_labels=job.outputs, layers=1)
    model.add_adapter("trial", config=SeqBnConfig(reduction_factor=16))
    model.train_adapter("trial")
    padding = model.config.pad_token_id

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        width = MOST_TOKENS if name == TO_128 else longest
        ids = np.full((len(rows), width), padding)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for k, row in enumerate(rows):
            ids[k, : len(row["input_ids"])] = row["input_ids"]
            mask[k, : len(row["input_ids"])] = 1
        labels = torch.tensor([row["labels"] for row in rows])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask),
                "labels": labels}  # fmt: skip

    class Turns(TrainerCallback):
        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            turn()

    rows = [
        {"input_ids": ids, "labels": label.item()}
        for ids, label in zip(job.examples.id_lists(), job.examples.labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, num_train_epochs=job.rounds,
            learning_rate=job.rate, weight_decay=0.0, save_strategy="no", logging_strategy="no",
            report_to=[], disable_tqdm=True, seed=42,
        )  # fmt: skip
        trainer = AdapterTrainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate,
            callbacks=[Turns()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)  # the page is what this script prints
        trainer.train()
    turn()


def contend(name: str, job: Job, parent: Connection) -> None:
    """Run one contender: at each turn, report CPU seconds since the last turn, then wait."""
    torch.set_num_threads(job.threads)
    started: list[float] = []

    def turn() -> None:
        seconds = time.process_time() - started[-1] if started else 0.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        parent.send((seconds, peak))
        parent.recv()
        started.append(time.process_time())

    run = run_engine if name in (FUSED, ADAPTERHUB) else run_trainer
    run(name, job, turn)


def measure(job: Job) -> dict[str, tuple[list[float], float]]:
    """Return, by contender, the CPU seconds of each epoch but the first, and peak megabytes."""
    context = multiprocessing.get_context("spawn")
    pipes = {name: context.Pipe() for name in CONTENDERS}
    processes = [context.Process(target=contend, args=(name, job, pipes[name][1]))
                 for name in CONTENDERS]  # fmt: skip
    for process in processes:
        process.start()
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    peak = {}
    for pipe, _ in pipes.values():
        pipe.recv()  # ready
    for number in range(job.rounds):
        for name, (pipe, _) in pipes.items():
            pipe.send(None)
            taken, peak[name] = pipe.recv()
            if number > 0:  # the first warms up
                seconds[name].append(taken)
    for pipe, _ in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    return {name: (seconds[name], peak[name]) for name in CONTENDERS}


def roberta(folder: Path) -> str:
    """Save a randomly initialised model of the size of RoBERTa-base and return its path."""
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1)
    RobertaModel(config).save_pretrained(folder)
    return str(folder)


def examples_of(options: argparse.Namespace, name: str) -> Examples:
    """Return the training examples in MiniLM's tokens, which both models are given."""
    from transformers import AutoTokenizer

    task = tasks.get(name)
    train = split(Source.named(options.data).load(name), options.regime, 42).train.taken()
    tokenizer = AutoTokenizer.from_pretrained(backbones.find("minilm").path)
    return batches.tokenise(train, task, tokenizer, MOST_TOKENS, segments=False)


def report(options: argparse.Namespace) -> None:
    commit, dirty = provenance.commit()
    arguments = " ".join(sys.argv[1:]).replace(options.data, "DIR")
    device = provenance.device_name(torch.device("cpu"))
    print("# The engines against AdapterTrainer\n")
    print(f"    python -m benchmarks.engines {arguments}\n")
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {device}, "
          f"{torch.backends.cpu.get_cpu_capability()}.")  # fmt: skip
    print(f"Baseline, {options.regime} examples, batches of {BATCH}, {options.threads} thread(s). "
          f"Median CPU seconds of {options.rounds - 1} epochs;")  # fmt: skip
    print("in parentheses, the speed relative to AdapterTrainer padded to the longest. The last")
    print("column is peak memory in MB, in the same order.\n")
    print(f"| model | task | tokens, mean (most) | {' | '.join(CONTENDERS)} | memory |")
    print(f"|---|---|---:|{'---:|' * len(CONTENDERS)}---:|", flush=True)
    ratios: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"minilm": backbones.find("minilm").path, "roberta": roberta(Path(folder))}
        for model in options.models:
            for name in options.tasks:
                _row(options, model, paths[model], name, ratios)
    print("\nSpeed relative to AdapterTrainer padded to the longest, over the tasks:\n")
    print("| model | engine | geometric mean | range |\n|---|---|---:|---:|")
    for (model, contender), values in ratios.items():
        mean = statistics.geometric_mean(values)
        print(f"| {model} | {contender} | {mean:.2f} | {min(values):.2f} to {max(values):.2f} |")


def _row(options: argparse.Namespace, model: str, path: str, name: str, ratios: Any) -> None:
    examples = examples_of(options, name)
    job = Job(path, examples, tasks.get(name).outputs, 1e-4, options.rounds, options.threads)
    measured = measure(job)
    medians = {contender: statistics.median(s) for contender, (s, _) in measured.items()}
    lengths = examples.lengths.tolist()
    cells = []
    for contender, seconds in medians.items():
        ratio = medians[LONGEST] / seconds
        ratios.setdefault((model, contender), []).append(ratio)
        cells.append(f"{seconds:.2f} ({ratio:.2f})")
    memory = " / ".join(f"{peak:.0f}" for _, peak in measured.values())
    title = tasks.get(name).title
    print(f"| {model} | {title} | {np.mean(lengths):.0f} ({max(lengths)}) | {' | '.join(cells)} | "
          f"{memory} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--models", nargs="+", default=["minilm", "roberta"])
    parser.add_argument("--tasks", nargs="+", default=["cola", "sst2", "qqp", "mrpc", "rte"])
    parser.add_argument("--regime", default="300")
    parser.add_argument("--rounds", type=int, default=6, help="epochs, of which the first warms up")
    parser.add_argument("--threads", type=int, default=1)
    report(parser.parse_args())


if __name__ == "__main__":
    main()
