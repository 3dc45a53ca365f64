"""The backbone's frozen linear layers on the CPU, by oneDNN's matrix product.

On x86 torch gives float32 products to MKL, which on AMD processors runs at less than half the
speed of oneDNN (which torch carries too; benchmarks/frozen_linear.md has the figures). In bfloat16
torch itself takes oneDNN; there the layout made once spares the conversion in each call. Since the
layers are frozen, the backward pass needs the gradient of the input alone.
"""

from typing import Any

import torch
from torch import Tensor, nn


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _FrozenLinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "FrozenLinear") -> Tensor:
        ctx.layer = layer
        return _product(x, layer.packed, layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _product(grads[0].contiguous(), ctx.layer.packed_transposed, None), None


class FrozenLinear(nn.Module):
    """A frozen ``nn.Linear`` in float32 or bfloat16 on the CPU: the same weights and function.

    Maps [..., in_features] to [..., out_features]. The weight is held in oneDNN's layout too, once
    as it is and once transposed for the backward pass.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        weight = linear.weight.detach()
        self.packed = weight.to_mkldnn()
        self.packed_transposed = weight.T.contiguous().to_mkldnn()

    def forward(self, x: Tensor) -> Tensor:
        return _FrozenLinearFunction.apply(x, self)


def replace_linears(module: nn.Module) -> None:
    """Replace every linear layer below ``module``, all of them frozen and on the CPU.

    Does nothing where torch was built without oneDNN, or the processor has no bfloat16 for it.
    """
    if not torch.backends.mkldnn.is_available():
        return
    half = any(p.dtype == torch.bfloat16 for p in module.parameters())
    if half and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, FrozenLinear(child))
