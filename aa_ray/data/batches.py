"""Tokenised examples, and batches of them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from aa_ray.data.tasks import Task

# Number of rows that are tokenised at a time. A tokenizer returns lists of Python integers, which
# are ten times as large as the arrays made from them.
PIECE = 1024


@dataclass(frozen=True, eq=False)
class Examples:
    """Tokenised examples, stored as concatenated tokens.

    Attributes:
        input_ids, token_type_ids: ids of all tokens, int32 and int8; they may be in a mapped file.
        lengths: tokens of each example, [n].
        starts: where each example starts, [n].
        labels: [n].
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_lists(
        cls,
        input_ids: Sequence[Sequence[int]],
        token_type_ids: Sequence[Sequence[int]] | None,
        labels: np.ndarray,
    ) -> "Examples":
        """Examples from lists of token ids and segment ids; None if all segment ids are 0."""
        lengths = np.fromiter(map(len, input_ids), dtype=np.int64, count=len(input_ids))
        segments = None if token_type_ids is None else _flat(token_type_ids, np.int8)
        return cls.from_arrays(_flat(input_ids, np.int32), segments, lengths, labels)

    @classmethod
    def from_arrays(
        cls,
        input_ids: np.ndarray,
        token_type_ids: np.ndarray | None,
        lengths: np.ndarray,
        labels: np.ndarray,
    ) -> "Examples":
        """Examples from concatenated tokens; if segment ids are missing, they are 0."""
        if token_type_ids is None:
            token_type_ids = np.broadcast_to(np.int8(0), input_ids.shape)
        return cls(input_ids, token_type_ids, lengths, np.cumsum(lengths) - lengths, labels)

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray) -> "Examples":
        """These examples in this order, without copying their tokens."""
        of_examples = (self.lengths[indices], self.starts[indices], self.labels[indices])
        return replace(self, **dict(zip(("lengths", "starts", "labels"), of_examples, strict=True)))

    def tokens(self, indices: np.ndarray) -> np.ndarray:
        """Indices of all tokens of these examples, in order."""
        lengths = self.lengths[indices]
        before = np.cumsum(lengths) - lengths  # tokens of the examples before
        return np.arange(lengths.sum()) + np.repeat(self.starts[indices] - before, lengths)

    def id_lists(self) -> list[list[int]]:
        """Each example's token ids as a list; meant for few examples."""
        return self._lists(self.input_ids)

    def segment_lists(self) -> list[list[int]]:
        """Each example's segment ids as a list; meant for few examples."""
        return self._lists(self.token_type_ids)

    def _lists(self, values: np.ndarray) -> list[list[int]]:
        return [
            values[start : start + length].tolist()
            for start, length in zip(self.starts, self.lengths, strict=True)
        ]


def _flat(lists: Sequence[Sequence[int]], dtype: type) -> np.ndarray:
    """The numbers of all lists, concatenated."""
    return np.fromiter(itertools.chain.from_iterable(lists), dtype=dtype)


def _joined(pieces: list[np.ndarray], dtype: type) -> np.ndarray:
    """The pieces, concatenated. Each is freed once it is copied, so memory holds them only once."""
    joined: np.ndarray = np.empty(sum(map(len, pieces)), dtype)
    stop = len(joined)
    while pieces:
        piece = pieces.pop()
        joined[stop - len(piece) : stop] = piece
        stop -= len(piece)
    return joined


def tokenise(
    table: pa.Table,
    task: Task,
    tokenizer: Any,
    max_length: int,
    segments: bool = True,
    beat: Callable[[], object] = lambda: None,
) -> Examples:
    """Tokenise a task's one or two text columns, cut to ``max_length`` tokens per example.

    Args:
        segments: whether the encoder reads segment ids. They are 0 if it does not, or if the
            tokenizer returns none.
        beat: is called from time to time, since a large table takes minutes.
    """
    ids: list[np.ndarray] = []
    token_type_ids: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    for start in range(0, len(table), PIECE):
        beat()
        piece = table.slice(start, PIECE)
        texts = [piece[column].to_pylist() for column in task.texts]
        encoded = tokenizer(*texts, truncation=True, max_length=max_length)
        of_piece = encoded["input_ids"]
        ids.append(_flat(of_piece, np.int32))
        lengths.append(np.fromiter(map(len, of_piece), dtype=np.int64, count=len(of_piece)))
        if segments and encoded.get("token_type_ids"):
            token_type_ids.append(_flat(encoded["token_type_ids"], np.int8))
    return Examples.from_arrays(
        _joined(ids, np.int32),
        _joined(token_type_ids, np.int8) if token_type_ids else None,
        _joined(lengths, np.int64),
        table["label"].to_numpy().astype(np.float32 if task.regression else np.int64),
    )


def shuffled(size: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Index batches of one training epoch, in an order that only depends on (seed, epoch).

    So trials with the same seed see the same batches, no matter what else they draw at random.
    """
    order = np.random.default_rng([seed, epoch]).permutation(size)
    return (order[start : start + batch_size] for start in range(0, size, batch_size))


def by_length(examples: Examples, tokens: int) -> Iterator[np.ndarray]:
    """Index batches for evaluation: examples of similar length, at most ``tokens`` tokens in all.

    A longer example is a batch by itself.
    """
    order = np.argsort(examples.lengths, kind="stable")
    total = np.cumsum(examples.lengths[order])
    start, done = 0, 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(total, done + tokens, side="right")))
        yield order[start:stop]
        start, done = stop, int(total[stop - 1])
