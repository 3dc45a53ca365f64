"""Arrays of trials on random backbones and made-up texts, run by the package's own training loop.

For measurements that ask how fast a step is, not what it learns: no weights and no data are read.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from aa_ray.core import encoders, engines, heads, model
from aa_ray.data import tasks
from aa_ray.data.batches import Examples
from aa_ray.training import loop
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import Engine, make
from aa_ray.training.evaluation import Job, Scores
from aa_ray.training.trainer import Parts, TrialTrainer
from aa_ray.trial import Precision, Trial

BATCH = 32
TASK = "sst2"

# Widths of the published checkpoints.
BERT_LARGE = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)

# Activation, whether switched, and layers from the top (None: all) of the architectures.
ARCHITECTURES: dict[str, tuple[str, bool, int | None]] = {
    "baseline": ("relu", False, None),
    "aa": ("rational:one", True, None),
    "aa-focused-sim": ("rational:one", False, 13),
    "switch-only": ("relu", True, None),
    "rational-only": ("rational:one", False, None),
    "baseline-last-n": ("relu", False, 13),
    "adapter-drop": ("relu", False, None),
}


def random_encoder(
    config: BertConfig, device: torch.device | str, precision: Precision
) -> PreTrainedModel:
    """Return a frozen encoder with random weights, prepared as ``aa_ray.training`` prepares one."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    with torch.device(device):  # adapters are noted in the configuration, so each has its own
        encoder = AutoModelForSequenceClassification.from_config(deepcopy(config))
    encoders.init(encoder)
    encoder.dropout = nn.Dropout(heads.head_dropout(config))
    return freeze(encoder, device, precision)


def made_up_trials(
    name: str, count: int, config: BertConfig, precision: Precision = "fp32", **changes: Any
) -> list[Trial]:
    """Return trials of one architecture that differ only by seed."""
    activation, switched, depth = ARCHITECTURES[name]
    num_layers = config.num_hidden_layers
    lowest = 0 if depth is None else max(0, num_layers - depth)
    settings: dict[str, Any] = {
        "task": TASK, "regime": "100", "backbone": "random", "data": "made up",
        "layers": tuple(range(lowest, num_layers)), "activation": activation, "switched": switched,
        "inference_depths": (num_layers,) if name == "adapter-drop" else None,
        "learning_rate": 1e-4, "rational_learning_rate": 0.01, "switch_learning_rate": 0.05,
        "precision": precision, "batch_size": BATCH, "epochs": 1000,
    }  # fmt: skip
    return [Trial(seed=seed, **(settings | changes)) for seed in range(count)]


def made_up_examples(size: int, mean: float, seed: int = 0, spread: float = 0.4) -> Examples:
    """Return random texts with about ``mean`` tokens each, between 3 and 128.

    Args:
        spread: standard deviation of the lengths over their mean. GLUE's tasks have 0.3 to 0.5;
            texts of 128 tokens all have the same length.
    """
    rng = np.random.default_rng(seed)
    lengths = np.full(size, 128)
    if mean < 128:
        lengths = np.clip(rng.gamma(spread**-2, mean * spread**2, size).round(), 3, 128)
    ids = [rng.integers(1000, 29_000, int(n)).tolist() for n in lengths]
    return Examples.from_lists(ids, None, rng.integers(0, 2, size))


class Array:
    """Trials side by side on one encoder. The package's own loop trains them; nothing is evaluated.

    Attributes:
        steps: per epoch.
    """

    def __init__(
        self, encoder: PreTrainedModel, trials: Sequence[Trial], mean: float, steps: int
    ) -> None:
        torch.manual_seed(0)
        self.steps = steps
        task = tasks.get(TASK)
        development = made_up_examples(BATCH, mean)
        parts = [
            Parts(made_up_examples(steps * BATCH, mean, trial.seed), development)
            for trial in trials
        ]
        self.engine = make(engines.FUSED, encoder)
        trial_models = model.attach(encoder, trials, task.outputs)
        num_layers = encoders.num_layers(encoder)
        self.trainers = [
            TrialTrainer(trial_model, task, examples, num_layers)
            for trial_model, examples in zip(trial_models, parts, strict=True)
        ]
        self._epochs = loop.train(self.engine, self.trainers)

    def train(self) -> None:
        """Train one epoch. The device has finished on return, since the losses are read."""
        with mock.patch.object(loop, "evaluate", _no_evaluation):
            next(self._epochs)
        errors = [trainer.error for trainer in self.trainers if trainer.error is not None]
        if errors:
            raise RuntimeError(errors[0])


def _no_evaluation(engine: Engine, jobs: Sequence[Job]) -> list[Scores]:
    """Replaces ``evaluate``: every trial gets the same score."""
    return [Scores(dict.fromkeys(job.trainer.task.metrics, 0.0), 1) for job in jobs]
