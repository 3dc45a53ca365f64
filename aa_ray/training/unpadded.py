"""Batches without padding: the tokens of a context's examples stand one after the other.

Everything in BERT but attention looks at single tokens, so that padding is needed there only; and
there, examples of like length are attended in one group, padded to its longest.

Numbers of tokens are rounded up a little, with spare ones at the end: oneDNN generates code for
every new shape, which takes as long as a product.

Shapes: S contexts, B examples each, T tokens, spare ones included. P is the number of positions of
all groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aa_ray.data.batches import Examples

# Examples of a group. On a GPU starting another kernel costs more than the padding.
GROUP_SIZE = {"cpu": 8}


@dataclass(frozen=True)
class Group:
    """Examples that are attended together.

    Attributes:
        rows, length: their number, and tokens of the longest, rounded up.
        blocked: [rows, 1, 1, length], -inf at padding and 0 elsewhere; None without padding.
    """

    rows: int
    length: int
    blocked: Tensor | None


@dataclass(frozen=True)
class Packed:
    """A batch.

    Attributes:
        inputs: token ids, segment ids and positions for BERT's embeddings, [S, T] each.
        first: [S * B], where each example's first token is among all S * T.
        membership: [S, T, B], 1 where the token belongs to the example, else 0.
        groups: of examples for attention.
        sources: [P], which of all S * T tokens stands at each position of the groups.
        places: [S * T], the position at which each token stands.
        padding, spare: positions that are padding, and tokens that are spare.
    """

    inputs: dict[str, Tensor]
    first: Tensor
    membership: Tensor
    groups: list[Group]
    sources: Tensor
    places: Tensor
    padding: Tensor
    spare: Tensor

    @property
    def contexts(self) -> int:
        return len(self.membership)

    def to_groups(self, x: Tensor) -> Tensor:
        """[R, S * T, ...] -> [R, P, ...]."""
        return _Rearranged.apply(x, self.sources, self.places, self.spare)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[R, P, ...] -> [R, S * T, ...]."""
        return _Rearranged.apply(x, self.places, self.sources, self.padding)


class _Rearranged(torch.autograd.Function):
    """x[:, there], where ``back`` undoes it but for the ``blank`` ones, which are of no account.

    So the gradient is a selection too, without atomics: [R, n, ...] -> [R, len(there), ...].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, blank: Tensor) -> Tensor:
        ctx.back, ctx.blank = back, blank
        return x.index_select(1, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad = grads[0].index_select(1, ctx.back)
        if len(ctx.blank):
            grad.index_fill_(1, ctx.blank, 0)
        return grad, None, None, None


def pack(
    parts: Sequence[Examples], chosen: Sequence[np.ndarray], device: torch.device
) -> tuple[Packed, Tensor]:
    """One batch of several sets of examples, of which each gives as many.

    Args:
        parts: S sets of examples.
        chosen: for each of them the indices of its B examples.

    Returns:
        The batch, and labels [S, B].
    """
    lengths = np.array(
        [[len(part.input_ids[i]) for i in of] for part, of in zip(parts, chosen, strict=True)]
    )
    total = _rounded(int(lengths.sum(axis=1).max()))
    starts = np.cumsum(lengths, axis=1) - lengths  # [S, B], within the context
    inputs = np.zeros((3, len(parts), total), dtype=np.int64)
    membership = np.zeros((len(parts), total, lengths.shape[1]), dtype=np.float32)
    for s, (part, of_stream) in enumerate(zip(parts, chosen, strict=True)):
        for b, i in enumerate(of_stream):
            at = slice(starts[s, b], starts[s, b] + lengths[s, b])
            inputs[0, s, at] = part.input_ids[i]
            inputs[1, s, at] = part.token_type_ids[i]
            inputs[2, s, at] = np.arange(lengths[s, b])
            membership[s, at, b] = 1
    first = (starts + total * np.arange(len(parts))[:, None]).ravel()
    groups, sources, padding = _groups(lengths.ravel(), first, device)
    places = np.zeros(len(parts) * total, dtype=np.int64)
    real = np.setdiff1d(np.arange(len(sources)), padding)
    places[sources[real]] = real
    spare = np.flatnonzero(membership.sum(axis=2).ravel() == 0)

    def sent(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    names = ("input_ids", "token_type_ids", "position_ids")
    packed = Packed(
        dict(zip(names, sent(inputs), strict=True)), sent(first), sent(membership), groups,
        sent(sources), sent(places), sent(padding), sent(spare),
    )  # fmt: skip
    labels = np.stack([part.labels[of] for part, of in zip(parts, chosen, strict=True)])
    return packed, torch.from_numpy(labels).to(device)


def _rounded(tokens: int) -> int:
    """Up to a multiple of a 16th of the power of two below: by 3 % on average."""
    step = max(1, 2 ** (tokens.bit_length() - 1) // 16)
    return -(-tokens // step) * step


def _groups(
    lengths: np.ndarray, first: np.ndarray, device: torch.device
) -> tuple[list[Group], np.ndarray, np.ndarray]:
    """The groups, their ``sources`` and their ``padding``, of examples that start at ``first``."""
    size = GROUP_SIZE.get(device.type, len(lengths))
    order = np.argsort(lengths, kind="stable")
    groups, sources, padding = [], [], []
    done = 0
    for start in range(0, len(order), size):
        trial_models = order[start : start + size]
        longest = -(-int(lengths[trial_models].max()) // 8) * 8
        offsets = np.arange(longest)
        real = offsets < lengths[trial_models][:, None]  # [rows, longest]
        sources.append(np.where(real, first[trial_models][:, None] + offsets, 0).ravel())
        padding.append(done + np.flatnonzero(~real))
        blocked = None
        if not real.all():
            added = np.where(real, 0, -np.inf).astype(np.float32)
            blocked = torch.from_numpy(added)[:, None, None].to(device)
        groups.append(Group(len(trial_models), longest, blocked))
        done += real.size
    return groups, np.concatenate(sources), np.concatenate(padding)
