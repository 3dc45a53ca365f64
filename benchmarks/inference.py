"""Sentences per second of the architectures' evaluation: what fewer adapters save.

Random adapters serve: their values change no time, but for the switches, which are set by hand.
The architectures alternate.

    python -m benchmarks.inference --data DIR > benchmarks/inference.md
"""

import argparse
import statistics
import time
from datetime import date

import torch
from transformers import AutoTokenizer

from aa_ray.core import backbones, model
from aa_ray.core.backbones import Backbone
from aa_ray.data import batches, tasks
from aa_ray.data.glue import Source
from aa_ray.store import provenance
from aa_ray.training import evaluation
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.device import set_precision
from aa_ray.training.engine import FusedEngine
from aa_ray.training.evaluation import Job
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import PRECISIONS, Trial

EXAMPLES = 300
REPEATS = 7


def architectures(backbone: Backbone, data: str, task: str, precision: str) -> dict[str, Trial]:
    """Name -> trial. AA has a switch in every layer, of which those of the upper half are on."""
    every = tuple(range(backbone.num_layers))
    upper = every[len(every) // 2 :]
    common = {
        "task": task, "regime": "100", "seed": 42, "backbone": backbone.identity, "data": data,
        "learning_rate": 1e-3, "rational_learning_rate": 0.01, "switch_learning_rate": 0.05,
        "inference_depths": None, "precision": precision,
    }  # fmt: skip
    kinds = {
        "no adapters": ("relu", False, ()),
        "Baseline": ("relu", False, every),
        "AdapterDrop, upper half": ("relu", False, upper),
        "AA": ("rational:one", True, every),
        "AA-focused, upper half": ("rational:one", False, upper),
    }
    return {
        name: Trial(activation=activation, switched=switched, layers=layers, **common)  # type: ignore[arg-type]
        for name, (activation, switched, layers) in kinds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "qnli"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=PRECISIONS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backbone, source = backbones.find(options.backbone), Source.named(options.data)
    tokenizer = AutoTokenizer.from_pretrained(backbone.path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    commit, dirty = provenance.commit()
    print("# Sentences per second\n\n    python -m benchmarks.inference --data DIR\n")
    state = " (changed)" if dirty else ""
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(device)},")
    print(f"{options.threads} thread(s). {backbone.identity}, {EXAMPLES} test examples, without")
    print(f"tokenising; medians of {REPEATS} alternating repeats, in parentheses the ratio to")
    print("Baseline.\n")
    print("| task | precision | " + " | ".join(architectures(backbone, "", "sst2", "fp32")) + " |")
    print("|---|---|" + "---:|" * 5)
    for task_name in options.tasks:
        task = tasks.get(task_name)
        table = source.load(task_name).test.slice(0, EXAMPLES)
        examples = batches.tokenise(table, task, tokenizer, 128)
        for precision in options.precisions:
            set_precision(precision)
            bert = freeze(model.load(backbone.path), device, precision)
            trials = architectures(backbone, source.identity(task_name), task_name, precision)
            trial_models = model.attach(bert, trials.values(), task.outputs)
            jobs = {}
            for name, trial_model in zip(trials, trial_models, strict=True):
                for layer in trial_model.layers[backbone.num_layers // 2 :] * trials[name].switched:
                    trial_model.switch(layer).logits.data[1] = 1.0
                trainer = TrialTrainer(
                    trial_model, task, Parts(examples, examples), backbone.num_layers
                )
                jobs[name] = Job(trainer, backbone.num_layers, examples)
            taken: dict[str, list[float]] = {name: [] for name in jobs}
            for repeat in range(REPEATS + 1):  # the first warms up
                for name, job in jobs.items():
                    started = time.perf_counter()
                    evaluation.evaluate(FusedEngine(bert), [job])
                    if repeat:
                        taken[name].append(time.perf_counter() - started)
            rates = {name: len(examples) / statistics.median(s) for name, s in taken.items()}
            cells = [f"{r:,.0f} ({r / rates['Baseline']:.2f})" for r in rates.values()]
            print(f"| {task.title} | {precision} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
