"""Tokenised examples and the batches made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from aa_ray.tasks import Task


@dataclass(frozen=True)
class Examples:
    """Tokenised examples: per example its token ids and segment ids; labels [n]."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def joint(
    parts: Sequence[Examples], chosen: Sequence[np.ndarray], device: torch.device
) -> tuple[dict[str, Tensor], Tensor]:
    """One batch of several sets of examples, of which each gives as many.

    Args:
        parts: S sets of examples.
        chosen: for each of them the indices of its B examples.

    Returns:
        Model inputs [S * B, longest of all] and labels [S, B].
    """
    rows = [(part, i) for part, of_part in zip(parts, chosen, strict=True) for i in of_part]
    longest = max(len(part.input_ids[i]) for part, i in rows)
    # input_ids, token_type_ids, attention_mask; 0 pads all three in BERT's vocabularies.
    padded = np.zeros((3, len(rows), longest), dtype=np.int64)
    for row, (part, i) in enumerate(rows):
        length = len(part.input_ids[i])
        padded[0, row, :length] = part.input_ids[i]
        padded[1, row, :length] = part.token_type_ids[i]
        padded[2, row, :length] = 1
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = dict(zip(names, torch.from_numpy(padded).to(device), strict=True))
    labels = np.stack([part.labels[of] for part, of in zip(parts, chosen, strict=True)])
    return inputs, torch.from_numpy(labels).to(device)


def tokenise(table: pa.Table, task: Task, tokenizer: Any, max_length: int) -> Examples:
    """Tokenise a task's one or two text columns, cut to ``max_length`` tokens per example."""
    texts = [table[column].to_pylist() for column in task.texts]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    labels = table["label"].to_numpy().astype(np.float32 if task.regression else np.int64)
    return Examples(encoded["input_ids"], encoded["token_type_ids"], labels)


def shuffled(size: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Index batches of one training epoch, in an order drawn from (seed, epoch) alone.

    So trials of one seed see the same batches whatever their architecture draws at random.
    """
    order = np.random.default_rng([seed, epoch]).permutation(size)
    return (order[start : start + batch_size] for start in range(0, size, batch_size))


def by_length(examples: Examples, batch_size: int) -> Iterator[np.ndarray]:
    """Index batches for evaluation, of examples of like length, so that little is padding."""
    order = np.argsort([len(ids) for ids in examples.input_ids], kind="stable")
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))
