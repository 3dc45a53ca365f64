"""Batches without padding: the tokens of a context's examples stand one after the other.

Everything in BERT but attention looks at single tokens, so only attention needs padding. There,
examples of like length form a group: a row each, padded to the longest.

One context with two examples, a of three tokens and b of two, looks like this (drawn with one spare
token, and with rows rounded up to 4 positions instead of 8):

    token                 0    1    2    3    4    5
    input_ids            a0   a1   a2   b0   b1    0
    position_ids          0    1    2    0    1    0
    example_of_token      0    0    0    1    1   -1
    first_token           0              3              [CLS] of a, of b
    spare                                          5

    position              0    1    2    3    4    5    6    7      row of b, then row of a
    token_at              3    4    0    0    0    1    2    0
    so there stand       b0   b1    .    .   a0   a1   a2    .      "." is padding
    padding                         2    3                   7
    blocked               0    0 -inf -inf    0    0    0 -inf

    token                 0    1    2    3    4    5
    position_of           4    5    6    0    1    0                the inverse of token_at

Padding and spare tokens have to point somewhere, so ``token_at`` and ``position_of`` are 0 there.
Numbers of tokens are rounded up a little, with spare ones at the end: oneDNN generates code for
every new shape, which takes as long as a product.

Shapes: S contexts, B examples each, T tokens each, spare ones included. P is the number of
positions of all groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aa_ray.data.batches import Examples
from aa_ray.training import joined, transfer

# Examples of a group. On a GPU starting another kernel costs more than the padding.
GROUP_SIZE = {"cpu": 8}

# The length of a group's rows is a multiple of this.
ROW_MULTIPLE = 8


@dataclass(frozen=True)
class Group:
    """Examples that are attended together, a row each.

    Attributes:
        rows, length: their number, and tokens of the longest, rounded up.
        blocked: [rows, 1, 1, length], -inf at padding and 0 elsewhere; None without padding.
    """

    rows: int
    length: int
    blocked: Tensor | None


@dataclass(frozen=True)
class Packed:
    """A batch; the module's docstring draws one.

    Attributes:
        inputs: token ids, segment ids and positions for BERT's embeddings, [S, T] each.
        example_of_token: [S, T], the number of the token's example in its context; -1 for a spare.
        first_token: [S * B], where each example's first token is among all S * T.
        groups: of examples for attention.
        token_at: [P], which of all S * T tokens stands at each position.
        position_of: [S * T], the position at which each token stands.
        padding, spare: positions that are padding, and tokens that are spare.
    """

    inputs: dict[str, Tensor]
    example_of_token: Tensor
    first_token: Tensor
    groups: list[Group]
    token_at: Tensor
    position_of: Tensor
    padding: Tensor
    spare: Tensor

    @property
    def num_contexts(self) -> int:
        return len(self.example_of_token)

    @cached_property
    def membership(self) -> Tensor:
        """[S, T, B], 1.0 where the token belongs to the example, else 0.0."""
        examples = len(self.first_token) // self.num_contexts
        numbers = torch.arange(examples, device=self.example_of_token.device)
        return (self.example_of_token[..., None] == numbers).float()

    def to_groups(self, x: Tensor) -> Tensor:
        """[R, S * T, ...] -> [R, P, ...]."""
        return _Rearranged.apply(x, self.token_at, self.position_of, self.spare)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[R, P, ...] -> [R, S * T, ...]."""
        return _Rearranged.apply(x, self.position_of, self.token_at, self.padding)


class _Rearranged(torch.autograd.Function):
    """Select x[:, index]: [R, n, ...] -> [R, len(index), ...].

    ``inverse`` restores the order, but for the entries of x in ``unused``, whose gradient is zero.
    So the gradient is a selection too, without atomics.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor, unused: Tensor) -> Tensor:
        ctx.inverse, ctx.unused = inverse, unused
        return x.index_select(1, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].index_select(1, ctx.inverse)
        if len(ctx.unused):
            grad.index_fill_(1, ctx.unused, 0)
        return grad, None, None, None


def pack(
    parts: Sequence[Examples],
    indices: Sequence[np.ndarray],
    device: torch.device,
    padding_position: int | None = None,
) -> tuple[Packed, Tensor]:
    """One batch of several sets of examples, of which each gives the same number.

    Args:
        parts: S sets of examples.
        indices: for each of them the indices of its B examples.
        padding_position: see ``aa_ray.core.model.padding_position``.

    Returns:
        The batch, and labels [S, B].
    """
    lengths = joined.lengths(parts, indices)  # [S, B]
    total = _rounded(int(lengths.sum(axis=1).max()))
    starts = np.cumsum(lengths, axis=1) - lengths  # [S, B], within the context
    first_token = (starts + total * np.arange(len(parts))[:, None]).ravel()
    example_of_token = joined.example_of_token(lengths, total)
    groups, token_at, real = _grouped(lengths.ravel(), first_token, device)
    position_of = np.zeros(len(parts) * total, dtype=np.int64)
    position_of[token_at[real]] = np.flatnonzero(real)

    def sent(array: np.ndarray) -> Tensor:
        return transfer.sent(torch.from_numpy(array), device)

    packed = Packed(
        inputs={
            name: sent(array)
            for name, array in joined.inputs(parts, indices, total, padding_position).items()
        },
        example_of_token=sent(example_of_token),
        first_token=sent(first_token),
        groups=groups,
        token_at=sent(token_at),
        position_of=sent(position_of),
        padding=sent(np.flatnonzero(~real)),
        spare=sent(np.flatnonzero(example_of_token.ravel() < 0)),
    )
    labels = np.stack([part.labels[of] for part, of in zip(parts, indices, strict=True)])
    return packed, sent(labels)


def _rounded(tokens: int) -> int:
    """Up to a multiple of a 16th of the power of two below: by 3 % on average."""
    step = max(1, 2 ** (tokens.bit_length() - 1) // 16)
    return -(-tokens // step) * step


def _grouped(
    lengths: np.ndarray, first_token: np.ndarray, device: torch.device
) -> tuple[list[Group], np.ndarray, np.ndarray]:
    """Groups of examples of like length.

    Returns:
        The groups, ``token_at`` [P], and which positions are no padding [P].
    """
    size = GROUP_SIZE.get(device.type, len(lengths))
    order = np.argsort(lengths, kind="stable")
    groups, token_at, real = [], [], []
    for start in range(0, len(order), size):
        examples = order[start : start + size]
        longest = -(-int(lengths[examples].max()) // ROW_MULTIPLE) * ROW_MULTIPLE
        offsets = np.arange(longest)
        inside = offsets < lengths[examples, None]  # [rows, longest]
        groups.append(Group(len(examples), longest, _blocked(inside, device)))
        token_at.append(np.where(inside, first_token[examples, None] + offsets, 0).ravel())
        real.append(inside.ravel())
    return groups, np.concatenate(token_at), np.concatenate(real)


def _blocked(inside: np.ndarray, device: torch.device) -> Tensor | None:
    """What is added to the attention scores of a group, [rows, 1, 1, length]; None for nothing."""
    if inside.all():
        return None
    added = np.where(inside, 0, -np.inf).astype(np.float32)
    return transfer.sent(torch.from_numpy(added)[:, None, None], device)
