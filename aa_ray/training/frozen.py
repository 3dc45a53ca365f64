"""The frozen parts of a layer, without the overhead of AdapterHub's and torch's modules.

AdapterHub's linear layers and sub-layers look up the active adapters in each call. Here there are
none, since adapters are applied after the layer, in ``stacked_adapters``.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import GELUActivation

from aa_ray.training.cpu_layers import FrozenLinear


def linear(layer: Any, x: Tensor) -> Tensor:
    """A frozen linear layer, [..., in] -> [..., out]."""
    if isinstance(layer, FrozenLinear):
        return layer(x)
    return functional.linear(x, layer.weight, layer.bias)


def projections(attention: Any, hidden: Tensor) -> Tensor:
    """Query, key and value side by side, in one product: [..., H] -> [..., 3 H].

    Args:
        attention: transformers' ``BertSelfAttention``, or a copy of it.
    """
    parts = attention.query, attention.key, attention.value
    joined = _joined_layers.get(attention)
    if joined is None or not joined.holds(parts):
        with torch.inference_mode(False), torch.no_grad():  # it may be used in training later
            joined = _joined_layers[attention] = _Joined(parts)
    return linear(joined.layer, hidden)


class _Joined:
    """Frozen linear layers with the same input as one layer, whose outputs are theirs side by side.

    The parts' weights become slices of its weight, so that there is only one copy in memory. On the
    CPU, oneDNN's layouts of the parts are made only if they are used separately.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        # Without initial values, which nn.Linear would draw from the generator of the training.
        layer = nn.utils.skip_init(nn.Linear, *weight.t().shape, device="meta")
        layer.weight, layer.bias = (nn.Parameter(x, requires_grad=False) for x in (weight, bias))
        for joined in ("weight", "bias"):
            whole = getattr(layer, joined).detach()
            sizes = [len(part.weight) for part in parts]
            for part, piece in zip(parts, whole.split(sizes), strict=True):
                getattr(part, joined).data = piece
        self._parts = tuple(parts)
        self.layer = FrozenLinear(layer) if isinstance(parts[0], FrozenLinear) else layer

    def holds(self, parts: Sequence[Any]) -> bool:
        """Whether these are its parts, and still share its weight, as after a move they do not."""
        own = _storage(self.layer.weight)
        return all(
            part is now and _storage(now.weight) == own
            for part, now in zip(self._parts, parts, strict=True)
        )


def _storage(x: Tensor) -> int:
    """The identity of the memory that a tensor uses, fake tensors included."""
    return x.untyped_storage()._cdata


_joined_layers: WeakKeyDictionary[nn.Module, _Joined] = WeakKeyDictionary()


def attention_output(output: Any, attended: Tensor, hidden: Tensor) -> Tensor:
    """BERT's sub-layer after attention: transformers' ``BertSelfOutput``, [rows, T, H]."""
    return norm(output.LayerNorm, output.dropout(linear(output.dense, attended)) + hidden)


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """A frozen LayerNorm, of x's shape."""
    return torch.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def feed_forward(intermediate: Any, output: Any, x: Tensor) -> Tensor:
    """BERT's two dense layers with the activation between them, [rows, T, H].

    Args:
        intermediate, output: transformers' ``BertIntermediate`` and ``BertOutput``.
    """
    layers = intermediate.dense, output.dense
    activation = intermediate.intermediate_act_fn
    if type(activation) is GELUActivation and not any(isinstance(m, FrozenLinear) for m in layers):
        first, second = layers
        return _FeedForward.apply(x, first.weight, first.bias, second.weight, second.bias)
    return linear(layers[1], activation(linear(layers[0], x)))


class _FeedForward(torch.autograd.Function):
    """The feed-forward block as one autograd function, which computes no gradients of weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor
    ) -> Tensor:
        inner = torch.addmm(up_bias, x.flatten(0, -2), up.t())  # [tokens, units between]
        ctx.save_for_backward(inner)
        ctx.weights = up, down
        out = torch.addmm(down_bias, functional.gelu(inner), down.t())
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        [inner] = ctx.saved_tensors
        up, down = ctx.weights
        of_activated = torch.mm(grads[0].flatten(0, -2), down)
        of_inner = torch.ops.aten.gelu_backward(of_activated, inner)
        return torch.mm(of_inner, up).view(grads[0].shape), None, None, None, None
