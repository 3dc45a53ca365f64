"""What a training step of the fused engine costs the host: this version against an earlier one.

The model has many narrow layers. Their matrix products take next to no time, so the time of a step
is what Python and torch need to launch operations. On a GPU, that is the time the device spends
waiting. Each version runs in its own process, which lives through the whole measurement. The
versions take turns epoch by epoch, so other load on the machine affects both. CPU time counts:
batches, forward, backward and optimiser.

As on a GPU, the examples of a batch form one attention group, dropout is torch's own, and attention
is one operation. (For that, attention itself has no dropout; on a CPU it would use other
operations.)

    git worktree add /tmp/before ffece89
    python -m benchmarks.host --before /tmp/before > benchmarks/host.md
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

LAYERS, HIDDEN, EXAMPLES, STEPS = 24, 8, 2, 20
METHODS: dict[str, dict[str, Any]] = {
    "Baseline": {"activation": "relu", "switched": False},
    "AA": {"activation": "rational:one", "switched": True},
}
SIZES = (1, 8)


class Version:
    """A process that trains with the ``aa_ray`` of one checkout.

    Args:
        checkout: its folder.
        model: the folder with the model.
    """

    def __init__(self, checkout: Path, model: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
        # As a file, since -m would find the aa_ray of the current folder first.
        command = [sys.executable, __file__, "--train", model]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def epoch(self, method: str, size: int) -> float:
        """Return CPU milliseconds per step of one epoch."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([method, size])}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def train(path: str) -> None:
    """Runs in the process of a version: train one epoch for each line on stdin."""
    import torch

    from aa_ray.training import loop

    found = importlib.util.find_spec("aa_ray.training.groups")  # none in the earlier version
    grouping: Any = importlib.import_module(found.name if found else "aa_ray.training.unpadded")
    torch.set_num_threads(1)
    grouping.GROUP_SIZE.clear()
    ready: dict[tuple[str, int], Any] = {}
    for line in sys.stdin:
        method, size = json.loads(line)
        if (method, size) not in ready:
            ready[method, size] = prepare(path, method, size)
        engine, trainers = ready[method, size]
        epoch = len(trainers[0].history)
        started = time.process_time()
        loop.train_epoch(engine, trainers, epoch)
        print((time.process_time() - started) * 1000 / STEPS, flush=True)


def prepare(path: str, method: str, size: int) -> tuple[Any, Any]:
    """Return the engine and the trainers of this many trials."""
    from torch import nn

    from aa_ray.core import model
    from aa_ray.data import tasks
    from aa_ray.training import engine
    from aa_ray.training.trainer import Parts, TrialTrainer
    from aa_ray.trial import Trial

    encoder = model.load(path).requires_grad_(False)
    assert any(isinstance(module, nn.Dropout) and module.p > 0 for module in encoder.modules())
    trials = [
        Trial(
            task="sst2", regime="100", seed=seed, backbone="", data="", batch_size=EXAMPLES,
            layers=tuple(range(LAYERS)), inference_depths=None, learning_rate=1e-4, epochs=1000,
            rational_learning_rate=0.01, switch_learning_rate=0.05, **METHODS[method],
        )
        for seed in range(size)
    ]  # fmt: skip
    trial_models = model.attach(encoder, trials, outputs=2)
    trainers = [
        TrialTrainer(of_trial, tasks.get("sst2"), Parts(examples(k), examples(k)), LAYERS)
        for k, of_trial in enumerate(trial_models)
    ]
    return engine.make("fused", encoder), trainers


def examples(seed: int) -> Any:
    """Return texts of 4 to 7 tokens."""
    import numpy as np

    from aa_ray.data.batches import Examples

    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, 90, rng.integers(4, 8)).tolist() for _ in range(STEPS * EXAMPLES)]
    return Examples.from_lists(ids, None, rng.integers(0, 2, len(ids)))


def make_model(folder: str) -> None:
    """Save a BERT with many narrow layers and random weights."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=2,
        intermediate_size=2 * HIDDEN, max_position_embeddings=64, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def measure(options: argparse.Namespace) -> dict[tuple[str, int], list[list[float]]]:
    """Return milliseconds per step by (method, trials): one per epoch, before and after."""
    here = Path(__file__).parent.parent
    measured: dict[tuple[str, int], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder)
        versions = [Version(checkout, folder) for checkout in (options.before, here)]
        for method in METHODS:
            for size in SIZES:
                taken: list[list[float]] = [[], []]
                for epoch in range(options.epochs + 1):
                    for of_version, version in zip(taken, versions, strict=True):
                        milliseconds = version.epoch(method, size)
                        if epoch > 0:  # the first warms up
                            of_version.append(milliseconds)
                measured[method, size] = taken
        for version in versions:
            version.end()
    return measured


def report(options: argparse.Namespace) -> None:
    """Print the table as Markdown."""
    import torch

    from aa_ray.store import provenance

    measured = measure(options)
    commits = [_commit(folder) for folder in (options.before, Path(__file__).parent.parent)]
    print("# What a training step costs the host\n")
    print("    python -m benchmarks.host --before CHECKOUT\n")
    device = provenance.device_name(torch.device("cpu"))
    print(f"Before: commit {commits[0]}; after: {commits[1]}. {date.today()}, {device}, "
          f"torch {torch.__version__}.")  # fmt: skip
    print(f"{LAYERS} layers of {HIDDEN} units, batches of {EXAMPLES} texts of 4 to 7 tokens, one "
          "thread.")  # fmt: skip
    print(f"CPU milliseconds per step, medians of {options.epochs} epochs of {STEPS} steps each, "
          "in turns;")  # fmt: skip
    print("in parentheses the fastest and the slowest epoch.\n")
    print("| method | trials | before | after | after / before |")
    print("|---|---:|---:|---:|---:|")
    for (method, size), taken in measured.items():
        before, after = (statistics.median(of_version) for of_version in taken)
        cells = [
            f"{statistics.median(of_version):.1f} ({min(of_version):.1f} to {max(of_version):.1f})"
            for of_version in taken
        ]
        print(f"| {method} | {size} | {cells[0]} | {cells[1]} | {after / before:.2f} |")


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    changed = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    status = subprocess.run(changed, capture_output=True, text=True, check=True).stdout.strip()
    return f"{commit} (changed)" if status else commit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path, help="checkout of the version to compare with")
    parser.add_argument("--epochs", type=int, default=10, help="of each version (default: 10)")
    parser.add_argument("--train", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train)
    elif options.before is None:
        parser.error("give the checkout of an earlier version: --before PATH")
    else:
        report(options)


if __name__ == "__main__":
    main()
