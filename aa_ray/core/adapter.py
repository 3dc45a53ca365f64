"""The learnable switch between an adapter and the identity (paper section 3.2).

In the terms of BERT's output sub-layer, where h is the dense output after dropout, i its residual
input and LN the layer's own LayerNorm, the released code mixes two branches and applies LN(. + i)
to the result:

    adapter:   up(R(down(LN(h + i)))) + h
    identity:  LN(h + i) + h

So the released code keeps the skip connection inside the adapter, and its identity branch is not
the plain layer LN(h + i). The paper (section 3.3) says otherwise on both: an adapter without skip
connection, up(R(down(LN(h + i)))), and an identity that passes h on unchanged.
``aa_ray.training.side_by_side`` computes the branches.
"""

import torch
from torch import Tensor, nn

# Order of the two logits in the released code; on a tie argmax returns the first, the identity.
IDENTITY, ADAPTER = 0, 1


def switch_weights(logits: Tensor, gumbel: Tensor, temperature: float) -> Tensor:
    """Gumbel-softmax weights of (identity, adapter), paper equation 2.

    Args:
        logits: [..., 2], broadcast with ``gumbel``.
        gumbel: [..., batch, 2] independent Gumbel(0, 1) samples, one pair per example.
        temperature: tau; the smaller, the closer the weights are to a hard choice.

    Returns:
        [..., batch, 2] weights that sum to 1 per example; soft (no straight-through).
    """
    return torch.softmax((logits + gumbel) / temperature, dim=-1)


def sample_gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Gumbel(0, 1) samples of that shape, on the generator's device."""
    return -torch.empty(shape, device=generator.device).exponential_(generator=generator).log()


class Switch(nn.Module):
    """The logits of one layer's switch: ``logits`` [2], identity first, both 0.5 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, 0.5]))

    @property
    def selected(self) -> bool:
        """Whether the adapter's logit is strictly larger than the identity's."""
        return bool(self.logits[ADAPTER] > self.logits[IDENTITY])
