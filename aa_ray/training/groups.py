"""Groups of examples of similar length, one row each, for attention that needs padding.

The docstring of ``aa_ray.training.unpadded`` shows an example and defines the shapes.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aa_ray.training import transfer

# Number of examples in a group. On a GPU, launching another kernel costs more than the padding.
GROUP_SIZE = {"cpu": 8}

# The length of a group's rows is a multiple of this.
ROW_MULTIPLE = 8


@dataclass(frozen=True)
class Group:
    """Examples whose attention is computed together, one row each.

    Attributes:
        rows, length: number of examples, and tokens of the longest, rounded up.
        blocked: [rows, 1, 1, length], -inf at padding and 0 elsewhere; None without padding.
    """

    rows: int
    length: int
    blocked: Tensor | None
    _masks: dict[tuple[torch.dtype, int], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def mask(self, dtype: torch.dtype, copies: int) -> Tensor | None:
        """``blocked`` for ``copies`` copies of the rows; the same tensor for all layers."""
        if self.blocked is None:
            return None
        if (dtype, copies) not in self._masks:
            with torch.inference_mode(False):  # the batch may be used in training later
                mask = self.blocked.to(dtype).repeat(copies, 1, 1, 1)
            self._masks[dtype, copies] = mask
        return self._masks[dtype, copies]


class Positions(NamedTuple):
    """The arrangement of tokens in groups.

    Attributes:
        groups: groups of examples for attention.
        token_at: [P], which of all S * T tokens is at each position.
        position_of: [S * T], the position of each token.
        padding: positions that are padding.
    """

    groups: list[Group]
    token_at: Tensor
    position_of: Tensor
    padding: Tensor


class Rearranged(torch.autograd.Function):
    """Select x[:, index]: [R, n, ...] -> [R, len(index), ...].

    ``inverse`` restores the order. Entries of x in ``unused`` get gradient zero. So the gradient is
    a selection too, without atomics.
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


def positioned(lengths: np.ndarray, total: int, device: torch.device) -> Positions:
    """Arrange the tokens of a batch in groups.

    Args:
        lengths: [S, B], tokens of each example.
        total: T, tokens of each context.
    """
    first_token = first_tokens(lengths, total)
    groups, token_at, real = _grouped(lengths.ravel(), first_token, device)
    position_of = np.zeros(len(lengths) * total, dtype=np.int64)
    position_of[token_at[real]] = np.flatnonzero(real)
    for of_context, tokens in zip(position_of.reshape(-1, total), lengths.sum(axis=1), strict=True):
        of_context[tokens:] = of_context[0]  # spare ones
    arrays = token_at, position_of, np.flatnonzero(~real)
    return Positions(groups, *(transfer.sent(torch.from_numpy(array), device) for array in arrays))


def first_tokens(lengths: np.ndarray, total: int) -> np.ndarray:
    """[S * B], the index of each example's first token among all S * T tokens."""
    starts = np.cumsum(lengths, axis=1) - lengths  # [S, B], within the context
    return (starts + total * np.arange(len(lengths))[:, None]).ravel()


def _grouped(
    lengths: np.ndarray, first_token: np.ndarray, device: torch.device
) -> tuple[list[Group], np.ndarray, np.ndarray]:
    """Groups of examples of similar length.

    Returns:
        The groups, ``token_at`` [P], and a mask of the positions that are not padding [P].
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
        token_at.append((first_token[examples, None] + np.where(inside, offsets, 0)).ravel())
        real.append(inside.ravel())
    return groups, np.concatenate(token_at), np.concatenate(real)


def _blocked(inside: np.ndarray, device: torch.device) -> Tensor | None:
    """The mask added to a group's attention scores, [rows, 1, 1, length]; None if all zeros."""
    if inside.all():
        return None
    added = np.where(inside, 0, -np.inf).astype(np.float32)
    return transfer.sent(torch.from_numpy(added)[:, None, None], device)
