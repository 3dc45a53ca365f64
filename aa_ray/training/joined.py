"""Concatenates the examples of a batch without padding; see ``aa_ray.training.unpadded``.

Shapes: S contexts of B examples and ``total`` tokens each, of which the last may be spare.
"""

from collections.abc import Sequence

import numpy as np

from aa_ray.data.batches import Examples


def lengths(parts: Sequence[Examples], indices: Sequence[np.ndarray]) -> np.ndarray:
    """[S, B], number of tokens of each example."""
    return np.stack([part.lengths[of] for part, of in zip(parts, indices, strict=True)])


def example_of_token(of_examples: np.ndarray, total: int) -> np.ndarray:
    """[S, total], index of each token's example; -1 for a spare token. Lengths are [S, B]."""
    numbers = np.full((len(of_examples), total), -1)
    for row, of_context in zip(numbers, of_examples, strict=True):
        row[: of_context.sum()] = np.repeat(np.arange(len(of_context)), of_context)
    return numbers


def inputs(
    parts: Sequence[Examples],
    indices: Sequence[np.ndarray],
    total: int,
    padding_position: int | None,
) -> dict[str, np.ndarray]:
    """The inputs of BERT's embeddings, [S, total] each; 0 at spare tokens."""
    names = ("input_ids", "token_type_ids", "position_ids")
    arrays = {name: np.zeros((len(parts), total), dtype=np.int64) for name in names}
    for number, (part, of) in enumerate(zip(parts, indices, strict=True)):
        values = _of_context(part, of, padding_position)
        for array, of_context in zip(arrays.values(), values, strict=True):
            array[number, : len(of_context)] = of_context
    return arrays


def _of_context(
    part: Examples, indices: np.ndarray, padding: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, segments and positions of all tokens of the examples."""
    of_examples = part.lengths[indices]
    starts = np.cumsum(of_examples) - of_examples  # within the context
    offsets = np.arange(of_examples.sum()) - np.repeat(starts, of_examples)  # within the example
    tokens = part.tokens(indices)
    ids = part.input_ids[tokens]
    positions = offsets
    if padding is not None:
        positions = _behind_padding(ids, starts, of_examples, padding)
    return ids, part.token_type_ids[tokens], positions


def _behind_padding(
    ids: np.ndarray, starts: np.ndarray, of_examples: np.ndarray, padding: int
) -> np.ndarray:
    """The positions of an example's tokens in RoBERTa, which start after padding's position.

    A padding token that occurs within a text gets padding's position.
    """
    real = ids != padding
    before = np.concatenate([[0], np.cumsum(real)])  # number of real tokens before each
    return padding + (before[1:] - np.repeat(before[starts], of_examples)) * real
