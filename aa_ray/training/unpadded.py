"""Batches without padding: the tokens of a context's examples are concatenated.

Everything in BERT except attention works on single tokens. Attention does not need padding either
if a kernel accepts sequences of any length (``aa_ray.training.varlen``); ``sequences`` says where
they end. Otherwise examples of similar length form a group, one row each, padded to the longest.

This is one context with two examples, a of three tokens and b of two (drawn with one spare token,
and with rows rounded up to 4 positions instead of 8):

    token                 0    1    2    3    4    5
    input_ids            a0   a1   a2   b0   b1    0
    position_ids          0    1    2    0    1    0
    example_of_token      0    0    0    1    1   -1
    first_token           0              3              [CLS] of a, of b
    spare                                          5
    ends                  0              3         5    6       where sequences end

    position              0    1    2    3    4    5    6    7      row of b, then row of a
    token_at              3    4    3    3    0    1    2    0
    which is             b0   b1    .    .   a0   a1   a2    .      "." is padding
    padding                         2    3                   7
    blocked               0    0 -inf -inf    0    0    0 -inf

    token                 0    1    2    3    4    5
    position_of           4    5    6    0    1    4                the inverse of token_at

Padding points to its example's first token, and a spare token to its context's first token. So if a
trial's numbers become NaN, they do not spread to other trials, not even with weight 0. The number
of tokens is rounded up a little, with spare tokens at the end, since oneDNN generates code for each
new shape, which takes as long as a product.

Shapes: S contexts, B examples each, T tokens each including spare ones. P is the number of
positions of all groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from aa_ray.data.batches import Examples
from aa_ray.training import joined, transfer
from aa_ray.training.groups import Group, Positions, Rearranged, first_tokens, positioned
from aa_ray.training.varlen import Sequences


@dataclass(frozen=True)
class Packed:
    """A batch; the module's docstring shows an example.

    Attributes:
        inputs: token ids, segment ids and positions for BERT's embeddings, [S, T] each.
        example_of_token: [S, T], index of the token's example in its context; -1 if it is spare.
        first_token: [S * B], index of each example's first token among all S * T.
        spare: indices of the spare tokens.
        lengths: [S, B], number of tokens of each example; in main memory.
        once: where the examples end, with spare tokens as separate sequences, which are not used.
    """

    inputs: dict[str, Tensor]
    example_of_token: Tensor
    first_token: Tensor
    spare: Tensor
    lengths: np.ndarray
    once: Sequences
    _repeated: dict[int, Sequences] = field(default_factory=dict, init=False, repr=False)

    @property
    def num_contexts(self) -> int:
        return len(self.example_of_token)

    @property
    def num_tokens(self) -> int:
        """S * T, including spare tokens."""
        return self.example_of_token.numel()

    def sequences(self, copies: int) -> Sequences:
        """The ends of the sequences in ``copies`` copies of the batch."""
        if copies not in self._repeated:
            with torch.inference_mode(False):  # the batch may be used in training later
                self._repeated[copies] = self.once.repeated(copies)
        return self._repeated[copies]

    @cached_property
    def positions(self) -> Positions:
        """The arrangement of its tokens in groups; computed on first use."""
        device = self.example_of_token.device
        total = self.example_of_token.shape[1]
        with torch.inference_mode(False):
            return positioned(self.lengths, total, device)

    @property
    def groups(self) -> list[Group]:
        return self.positions.groups

    @cached_property
    def membership(self) -> Tensor:
        """[S, T, B], 1.0 where the token belongs to the example, else 0.0."""
        examples = len(self.first_token) // self.num_contexts
        numbers = torch.arange(examples, device=self.example_of_token.device)
        return (self.example_of_token[..., None] == numbers).float()

    def to_groups(self, x: Tensor) -> Tensor:
        """[R, S * T, ...] -> [R, P, ...]."""
        _, token_at, position_of, _ = self.positions
        return Rearranged.apply(x, token_at, position_of, self.spare)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[R, P, ...] -> [R, S * T, ...]."""
        _, token_at, position_of, padding = self.positions
        return Rearranged.apply(x, position_of, token_at, padding)


def pack(
    parts: Sequence[Examples],
    indices: Sequence[np.ndarray],
    device: torch.device,
    padding_position: int | None = None,
) -> tuple[Packed, Tensor]:
    """One batch with the same number of examples from each of several sets.

    Args:
        parts: S sets of examples.
        indices: for each set, the indices of its B examples.
        padding_position: see ``aa_ray.core.model.padding_position``.

    Returns:
        The batch, and labels [S, B].
    """
    lengths = joined.lengths(parts, indices)  # [S, B]
    total = _rounded(int(lengths.sum(axis=1).max()))
    example_of_token = joined.example_of_token(lengths, total)
    ends = _ends(lengths, total)

    def sent(array: np.ndarray) -> Tensor:
        return transfer.sent(torch.from_numpy(array), device)

    packed = Packed(
        inputs={
            name: sent(array)
            for name, array in joined.inputs(parts, indices, total, padding_position).items()
        },
        example_of_token=sent(example_of_token),
        first_token=sent(first_tokens(lengths, total)),
        spare=sent(np.flatnonzero(example_of_token.ravel() < 0)),
        lengths=lengths,
        once=Sequences(sent(ends), int(lengths.max())),
    )
    labels = np.stack([part.labels[of] for part, of in zip(parts, indices, strict=True)])
    return packed, sent(labels)


def _ends(lengths: np.ndarray, total: int) -> np.ndarray:
    """0 and the ends of all sequences, int32: examples, then spare tokens, context by context.

    Spare tokens are split into sequences no longer than the longest example.
    """
    longest = int(lengths.max())
    ends = [0]
    for number, of_context in enumerate(lengths):
        real = np.cumsum(of_context)
        spare = [*range(int(real[-1]) + longest, total, longest), total]
        ends += [*(real + number * total), *(end + number * total for end in spare)]
    return np.unique(np.array(ends, dtype=np.int32))  # without sequences of no tokens


def _rounded(tokens: int) -> int:
    """Round up to a multiple of 1/16 of the power of two below: by 3 % on average."""
    step = max(1, 2 ** (tokens.bit_length() - 1) // 16)
    return -(-tokens // step) * step
