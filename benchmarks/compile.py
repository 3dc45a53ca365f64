"""Does torch.compile pay for trials that last seconds? Compares a compiled and an eager step.

The plain step is AdapterHub's own forward pass on a padded batch, with gradients for its adapters.
Our step is what a trial runs. Compile time is the time of the first two calls, which have different
shapes, as batches of text do. Shapes are dynamic from then on.

    python -m benchmarks.compile > benchmarks/compile.md
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import date

import adapters
import numpy as np
import torch
from transformers import BertForSequenceClassification

from aa_ray.core import backbones, model
from aa_ray.data.batches import Examples
from aa_ray.store import provenance
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.trial import Trial

ROWS, REPEATS = 32, 10


def texts(length: int) -> Examples:
    ids = [[5] * length] * ROWS
    return Examples.from_lists(ids, None, np.zeros(ROWS, dtype=np.int64))


def plain(path: str) -> Callable[[int], None]:
    """AdapterHub's forward pass and the gradients of its adapters."""
    bert = BertForSequenceClassification.from_pretrained(path, use_safetensors=True)
    adapters.init(bert)
    bert.add_adapter("a", config=adapters.SeqBnConfig(reduction_factor=16))
    bert.train_adapter("a")
    bert.train()

    def step(length: int) -> None:
        ids = torch.full((ROWS, length), 5)
        bert(input_ids=ids, labels=torch.zeros(ROWS, dtype=torch.long)).loss.backward()

    return step


def compiled(path: str) -> Callable[[int], None]:
    step = plain(path)
    return torch.compile(step, dynamic=True)


def ours(path: str, trial: Trial) -> Callable[[int], None]:
    """The step that a trial runs."""
    bert = freeze(model.load(path), precision=trial.precision).train()
    [trial_model] = model.attach(bert, [trial], outputs=2)

    def step(length: int) -> None:
        batch, [labels] = unpadded.pack([texts(length)], [np.arange(ROWS)], bert.device)
        [logits] = side_by_side.forward(bert, batch, [TrialContext(trial_model)])
        torch.nn.functional.cross_entropy(logits, labels).backward()

    return step


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = backbones.find("minilm")
    trial = Trial(
        task="cola", regime="100", seed=42, backbone=backbone.identity, data="none",
        layers=tuple(range(backbone.num_layers)), activation="relu", switched=False,
        inference_depths=None, learning_rate=1e-3, rational_learning_rate=0.01,
        switch_learning_rate=0.05,
    )  # fmt: skip
    ways = {
        "AdapterHub": plain(backbone.path),
        "AdapterHub, compiled": compiled(backbone.path),
        "aa_ray": ours(backbone.path, trial),
    }
    first = {
        name: seconds(lambda way=way: (way(24), way(40)))  # type: ignore[misc]
        for name, way in ways.items()
    }
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(REPEATS):
        for length in options.lengths:
            for name, way in ways.items():
                taken.setdefault((name, length), []).append(seconds(lambda: way(length)))  # noqa: B023
    commit, dirty = provenance.commit()
    state = " (changed)" if dirty else ""
    print("# torch.compile\n\n    python -m benchmarks.compile\n")
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(torch.device('cpu'))},")
    print(f"torch {torch.__version__}. MiniLM, {ROWS} texts of one length, forward and backward,")
    print(f"fp32; medians of {REPEATS} interleaved steps.\n")
    print("| way | first two steps, s | "
          + " | ".join(f"{n} tokens, ms" for n in options.lengths) + " |")  # fmt: skip
    print("|---|---:|" + "---:|" * len(options.lengths))
    for name in ways:
        medians = [1000 * statistics.median(taken[name, n]) for n in options.lengths]
        print(f"| {name} | {first[name]:.1f} | {' | '.join(f'{m:.0f}' for m in medians)} |")


if __name__ == "__main__":
    main()
