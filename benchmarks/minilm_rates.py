"""Which adapter learning rate suits the packaged MiniLM? Chosen on development sets.

The released rate, 1e-4, was chosen for BERT-large. This script tries a ladder of rates for adapters
and classifier on three methods, several tasks and one seed. Rational and switch rates stay as
released. It prints the mean best score on the development sets and never reads a test set.

    python -m benchmarks.minilm_rates --data DIR        (about 20 minutes on one core)
"""

import argparse
import dataclasses
import itertools

import numpy as np
import torch

from aa_ray.core import backbones
from aa_ray.data.glue import Official, Source
from aa_ray.store import provenance
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
TASKS = ["cola", "sst2", "stsb", "mrpc"]
SEEDS = (42,)


class WithoutTest(Source):
    """A source whose test sets hold one example, so that testing takes no time."""

    def load(self, name: str, planned: str | None = None, keep: bool = True) -> Official:
        official = super().load(name, planned, keep)
        return official._replace(test=official.test.slice(0, 1))


def methods(num_layers: int) -> dict[str, dict[str, object]]:
    """Baseline, AA, and rational adapters on the upper half of the layers."""
    every = tuple(range(num_layers))
    return {
        "baseline": {"layers": every, "activation": "relu", "switched": False},
        "aa": {"layers": every, "activation": "rational:one", "switched": True},
        "focused": {
            "layers": every[num_layers // 2 :],
            "activation": "rational:one",
            "switched": False,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="hub, embedded, or a folder of GLUE Parquet")
    parser.add_argument("--regime", default="100", help="annotated examples (default: 100)")
    parser.add_argument("--tasks", nargs="+", default=TASKS, help=f"(default: {' '.join(TASKS)})")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source, backbone = WithoutTest.named(arguments.data), backbones.find(backbones.MINILM)
    worker = Worker(backbone, source, provenance.commit())
    released = backbones.RELEASED_RATES
    scores: dict[tuple[str, float], list[float]] = {}
    grid = itertools.product(SEEDS, arguments.tasks, methods(backbone.num_layers).items(), LADDER)
    for seed, task, (method, architecture), rate in grid:
        trial = Trial(
            task=task,
            regime=arguments.regime,
            seed=seed,
            backbone=backbone.identity,
            data=source.identity(task),
            inference_depths=None,
            learning_rate=rate,
            rational_learning_rate=released.rational,
            switch_learning_rate=released.switch,
            pooling=backbone.pooling,
            **architecture,  # type: ignore[arg-type]
        )
        [[row]] = worker.run([trial], [method])
        if row["status"] == "failed":
            print(dataclasses.asdict(trial), row["error"], flush=True)
            continue
        scores.setdefault((method, rate), []).append(row["dev_metric"])
        print(f"{task} {seed} {method} {rate:g} {row['dev_metric']:.3f}", flush=True)

    print("\nmean development score x 100, over tasks and seeds")
    print("method   " + "".join(f"{rate:>9g}" for rate in LADDER))
    names = list(methods(backbone.num_layers))
    for method in names:
        means = (100 * np.mean(scores[method, rate]) for rate in LADDER)
        print(f"{method:9}" + "".join(f"{mean:9.2f}" for mean in means))
    overall = (100 * np.mean([scores[m, rate] for m in names]) for rate in LADDER)
    print(f"{'mean':9}" + "".join(f"{mean:9.2f}" for mean in overall))


if __name__ == "__main__":
    main()
