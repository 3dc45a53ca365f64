"""How much work Tables 2 to 4 are on BERT-large: training steps, and texts to evaluate.

Pure arithmetic from the paper's protocol (section 4): 20 epochs in batches of 32, the development
set after each, then the test set. Trials that several tables share count once.
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
    """How fast an array trains and evaluates, per trial of it."""

    def step(self, method: str, tokens: float) -> float:
        """Seconds of a training step on texts of so many tokens."""

    def evaluation(self, method: str, tokens: float) -> float:
        """Seconds for so many tokens in evaluation."""


class Runs(NamedTuple):
    """The training runs of a method on a task and regime.

    Attributes:
        runs: one per seed.
        steps: of each.
        tokens: of a training text, on average.
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
    """The runs of one method, task and regime."""
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
    """All methods of Tables 2 to 4 at 100, 300 and 500 examples."""
    names = [regime.name for regime in LOW_DATA]
    return list(_all(architectures.ALL_TABLES, names))


def full_data() -> list[Runs]:
    """Table 2's methods on all data; Tables 3 and 4 have none."""
    return list(_all(architectures.TABLE2, [FULL.name]))


def _all(methods: Sequence[str], names: Sequence[str]) -> Iterator[Runs]:
    for method in methods:
        for task in tasks.TASKS:
            for name in names:
                yield runs_of(method, task, name)


def hours(work: Sequence[Runs], speed: Speed) -> float:
    """Hours of all the training runs, one after the other."""
    return sum(runs.seconds(speed) for runs in work) / 3600


class Arithmetic:
    """The limit: products of the frozen layers alone, at a rate in FLOP per second.

    BERT-large's layers have 302 million weights in products, so a token costs 0.6 GFLOP forward,
    and as much backward, which has the gradient of the input alone.
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
        """FLOPs per token in texts of so many."""
        return 2 * self.WEIGHTS + 24 * 4 * 1024 * tokens
