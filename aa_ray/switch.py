"""The learnable switch between an adapter and the identity (paper section 3.2).

The switch sits around AdapterHub's bottleneck. In the terms of BERT's output sub-layer, where h is
the dense output after dropout, i its residual input and LN the layer's own LayerNorm, the released
code mixes two branches and applies LN(. + i) to the result:

    adapter:   up(R(down(LN(h + i)))) + h
    identity:  LN(h + i) + h

So the released code keeps the skip connection inside the adapter, and its identity branch is not
the plain layer LN(h + i). The paper (section 3.3) says otherwise on both: an adapter without skip
connection, up(R(down(LN(h + i)))), and an identity that passes h on unchanged.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Order of the two logits in the released code; on a tie argmax returns the first, the identity.
IDENTITY, ADAPTER = 0, 1


def switch_weights(logits: Tensor, gumbel: Tensor, temperature: float) -> Tensor:
    """Gumbel-softmax weights of (identity, adapter), paper equation 2.

    Args:
        logits: [2].
        gumbel: [batch, 2] independent Gumbel(0, 1) samples, one pair per example.
        temperature: tau; the smaller, the closer the weights are to a hard choice.

    Returns:
        [batch, 2] weights that sum to 1 per example; soft (no straight-through).
    """
    return torch.softmax((logits + gumbel) / temperature, dim=-1)


def sample_gumbel(batch: int, like: Tensor) -> Tensor:
    """[batch, 2] Gumbel(0, 1) samples from torch's global generator."""
    return -torch.empty(batch, 2, dtype=like.dtype, device=like.device).exponential_().log()


class Switch(nn.Module):
    """An AdapterHub bottleneck behind a learnable switch.

    It stands in for the bottleneck in AdapterHub's module dictionary. In training each example gets
    its own soft mixture of the branches; in evaluation the larger logit decides, and the
    adapter of an unselected layer is not computed.

    Args:
        adapter: AdapterHub's bottleneck (``adapters.methods.modeling.Adapter``).
        temperature: tau of the Gumbel-softmax.
        skip: whether the adapter branch keeps its skip connection (released code) or not (paper).
        plain_identity: whether the identity branch is h (paper), not LN(h + i) + h (released code).

    Parameters: ``logits`` [2], identity first, both 0.5 at the start.
    """

    def __init__(
        self, adapter: Any, temperature: float, skip: bool = True, plain_identity: bool = False
    ) -> None:
        super().__init__()
        self.adapter = adapter
        self.temperature = temperature
        self.skip = skip
        self.plain_identity = plain_identity
        self.logits = nn.Parameter(torch.tensor([0.5, 0.5]))

    @property
    def selected(self) -> bool:
        """Whether the adapter's logit is strictly larger than the identity's."""
        return bool(self.logits[ADAPTER] > self.logits[IDENTITY])

    def pre_forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.adapter.pre_forward(*args, **kwargs)

    def post_forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.adapter.post_forward(*args, **kwargs)

    def forward(self, x: Tensor, residual_input: Tensor, output_gating: bool = False) -> Any:
        """Mix the branches; x = LN(h + i) and residual_input = h, both [batch, seq, hidden].

        Returns AdapterHub's (output, down, up); the latter two are None where the adapter was
        not computed.
        """
        identity = residual_input if self.plain_identity else x + residual_input
        if not self.training and not self.selected:
            return identity, None, None
        output, down, up = self.adapter(x, residual_input, output_gating)[:3]
        if not self.skip:
            output = output - residual_input
        if self.training:
            gumbel = sample_gumbel(len(x), self.logits)
            weights = switch_weights(self.logits, gumbel, self.temperature)  # [batch, 2]
            weights = weights.to(x.dtype)[:, :, None, None]  # [batch, 2, 1, 1]
            output = weights[:, ADAPTER] * output + weights[:, IDENTITY] * identity
        return output, down, up
