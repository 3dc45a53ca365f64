"""How much work are Tables 2 to 4 on BERT-large? Counts training steps and texts to evaluate.

Pure arithmetic from the paper's protocol (section 4): 20 epochs in batches of 32, the development
set after each epoch, the test set at the end. Trials that several tables share count once.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from aa_ray.core import architectures
from aa_ray.data import regimes, tasks
from aa_ray.data.glue import TRAIN_SHARE
from aa_ray.data.regimes import FULL, LOW_DATA

EPOCHS = 20
BATCH = 32

# Mean tokens of a training and of a test text, at most 128 each, by BERT's uncased tokeniser;
# of the larger training sets a sample was counted.
TOKENS = {
    "mnli": (39.9, 39.1), "qqp": (30.4, 30.5), "qnli": (49.1, 51.0), "sst2": (13.3, 25.2),
    "cola": (11.3, 11.7), "stsb": (27.8, 31.5), "mrpc": (53.2, 53.2), "rte": (66.6, 64.6),
    "wnli": (37.1, 37.6),
}  # fmt: skip


class Speed(Protocol):
    """How fast an array trains and evaluates, per trial."""

    def step(self, method: str, tokens: float) -> float:
        """Return the seconds of a training step on texts with this many tokens."""

    def evaluation(self, method: str, tokens: float) -> float:
        """Return the seconds to evaluate this many tokens."""


class Runs(NamedTuple):
    """The training runs of a method on a task and regime.

    Attributes:
        runs: one per seed.
        steps: per run.
        tokens: mean per training text.
        evaluated: tokens that each run evaluates.
    """

    method: str
    task: str
    regime: str
    runs: int
    steps: int
    tokens: float
    evaluated: float

    def seconds(self, speed: Speed) -> float:
        steps = self.steps * speed.step(self.method, self.tokens)
        return self.runs * (steps + speed.evaluation(self.method, self.evaluated))


def runs_of(method: str, task: str, regime: str) -> Runs:
    """Return the runs of one method, task and regime."""
    rows = regimes.get(regime).size or tasks.get(task).train_rows
    train_rows = int(rows * TRAIN_SHARE)
    tokens, test_tokens = TOKENS[task]
    passes = len(architectures.get(method).lines)  # one per inference depth
    development = EPOCHS * (rows - train_rows) * tokens
    evaluated = passes * (development + tasks.get(task).test_rows * test_tokens)
    seeds = 1 if regime == FULL.name else len(architectures.SEEDS)
    steps = EPOCHS * math.ceil(train_rows / BATCH)
    return Runs(method, task, regime, seeds, steps, tokens, evaluated)


def low_data() -> list[Runs]:
    """Return all methods of Tables 2 to 4 at 100, 300 and 500 examples."""
    names = [regime.name for regime in LOW_DATA]
    return list(_all(architectures.ALL_TABLES, names))


def full_data() -> list[Runs]:
    """Return Table 2's methods on full data. Tables 3 and 4 have no full data."""
    return list(_all(architectures.TABLE2, [FULL.name]))


def _all(methods: Sequence[str], names: Sequence[str]) -> Iterator[Runs]:
    for method in methods:
        for task in tasks.TASKS:
            for name in names:
                yield runs_of(method, task, name)


def hours(work: Sequence[Runs], speed: Speed) -> float:
    """Return the hours of all training runs, one after the other."""
    return sum(runs.seconds(speed) for runs in work) / 3600


class Arithmetic:
    """A lower bound on time: only the matrix products of frozen layers, at a rate in FLOP/s.

    BERT-large's layers have 302 million weights in matrix products. A token costs 0.6 GFLOP forward
    and as much backward, since only the input needs a gradient.
    """

    WEIGHTS = 24 * 12 * 1024**2

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def step(self, method: str, tokens: float) -> float:
        forward = self._forward(tokens)
        attention = 24 * 4 * 1024 * tokens  # its backward pass has twice the products
        return BATCH * tokens * (2 * forward + attention) / self.rate

    def evaluation(self, method: str, tokens: float) -> float:
        return tokens * self._forward(40) / self.rate

    def _forward(self, tokens: float) -> float:
        """Return FLOPs per token in texts of this many tokens."""
        return 2 * self.WEIGHTS + 24 * 4 * 1024 * tokens
