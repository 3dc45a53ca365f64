"""Tokenised examples and the batches made of them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from aa_ray.data.tasks import Task


@dataclass(frozen=True)
class Examples:
    """Tokenised examples: per example its token ids and segment ids; labels [n]."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def flat(self) -> "FlatExamples":
        """The same tokens one after the other; made when they are first needed."""
        lengths = np.fromiter(map(len, self.input_ids), dtype=np.int64, count=len(self.input_ids))
        tokens = int(lengths.sum())
        ids, segments = (
            np.fromiter(itertools.chain.from_iterable(values), dtype=dtype, count=tokens)
            for values, dtype in ((self.input_ids, np.int32), (self.token_type_ids, np.int8))
        )
        return FlatExamples(ids, segments, lengths, np.cumsum(lengths) - lengths)


class FlatExamples(NamedTuple):
    """The tokens of all examples one after the other.

    Attributes:
        input_ids, token_type_ids: [tokens of all examples].
        lengths: tokens of each example, [n].
        starts: where each example starts, [n].
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray


def tokenise(
    table: pa.Table, task: Task, tokenizer: Any, max_length: int, segments: bool = True
) -> Examples:
    """Tokenise a task's one or two text columns, cut to ``max_length`` tokens per example.

    Args:
        segments: whether the encoder reads segment ids. They are 0 where it does not, or where the
            tokeniser gives none.
    """
    texts = [table[column].to_pylist() for column in task.texts]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    labels = table["label"].to_numpy().astype(np.float32 if task.regression else np.int64)
    ids = encoded["input_ids"]
    token_type_ids = encoded.get("token_type_ids") if segments else None
    return Examples(ids, token_type_ids or [[0] * len(example) for example in ids], labels)


def shuffled(size: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Index batches of one training epoch, in an order drawn from (seed, epoch) alone.

    So trials of one seed see the same batches whatever their architecture draws at random.
    """
    order = np.random.default_rng([seed, epoch]).permutation(size)
    return (order[start : start + batch_size] for start in range(0, size, batch_size))


def by_length(examples: Examples, tokens: int) -> Iterator[np.ndarray]:
    """Index batches for evaluation: examples of like length, with so many tokens or one example."""
    lengths = examples.flat.lengths
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        total = np.cumsum(lengths[order[start:]])
        count = max(1, int(np.searchsorted(total, tokens, side="right")))
        yield order[start : start + count]
        start += count
