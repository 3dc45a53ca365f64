"""Faster versions of the frozen backbone's layers on the CPU: linear layers and dropout.

Linear layers use oneDNN's matrix product where ``cpu_products`` finds it faster than torch's own
choice. In bfloat16 torch also uses oneDNN; there a stored layout saves a conversion in each call.
Since the layers are frozen, the backward pass only computes the gradient of the input.

Dropout uses 16 random bits per element. Torch draws a 64-bit number for each element, one after
another, which takes longer than the linear layer before it. Four elements per draw give the same
distribution, with the probability rounded to 1/65536.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aa_ray.training.cpu_products import onednn_is_faster
from aa_ray.trial import Precision


def freeze(
    model: PreTrainedModel,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    fast_linears: bool = True,
) -> PreTrainedModel:
    """Move the model to the device, for trials that do not change its weights.

    On the CPU its dropouts and linear layers are replaced by faster ones. In bf16 the whole model
    computes in bfloat16; trained parameters stay in float32.

    Args:
        fast_linears: whether to replace linear layers too. This is right for bottleneck adapters,
            which are separate modules. LoRA and others live inside AdapterHub's linear layers, so
            they need False (or ``restore_linears``).
    """
    model.requires_grad_(False)
    model.to(device)
    if precision == "bf16":
        model.base_model.to(torch.bfloat16)
    if model.device.type == "cpu":
        if fast_linears:
            replace_linears(model.base_model)
        replace_dropouts(model)
    return model


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

    Maps [..., in_features] to [..., out_features]. It also stores the weight in oneDNN's layout
    once it is used, as it is and transposed for the backward pass.

    Attributes:
        original: the layer that it replaces, which shares its weights.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._original = (linear,)  # in a tuple, so that its weights are not registered twice

    @cached_property
    def packed(self) -> Tensor:
        """The weight in oneDNN's layout."""
        with torch.inference_mode(False):
            return self.weight.detach().to_mkldnn()

    @cached_property
    def packed_transposed(self) -> Tensor:
        """The weight for the backward pass, which takes as much memory again."""
        with torch.inference_mode(False):
            return self.weight.detach().T.contiguous().to_mkldnn()

    @property
    def original(self) -> nn.Linear:
        return self._original[0]

    def forward(self, x: Tensor) -> Tensor:
        return _FrozenLinearFunction.apply(x, self)


def replace_linears(module: nn.Module) -> None:
    """Replace all linear layers below ``module``, which must be frozen and on the CPU.

    Does nothing if that would not be faster, judged by the time of the widest layer. Layers with
    hooks are kept: in ModernBERT AdapterHub runs adapters through hooks.
    """
    linears = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not linears:
        return
    widest = max(linears, key=lambda linear: linear.weight.numel())
    features = (widest.in_features, widest.out_features)
    if not onednn_is_faster(widest.weight.dtype, features):
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            hooked = child._forward_hooks or child._forward_pre_hooks
            if isinstance(child, nn.Linear) and not hooked:
                setattr(parent, name, FrozenLinear(child))


def restore_linears(module: nn.Module) -> None:
    """Restore the original linear layers; undoes ``replace_linears``."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, FrozenLinear):
                setattr(parent, name, child.original.train(child.training))


_LEAST = {bits: torch.iinfo(getattr(torch, f"int{bits}")).min for bits in (16, 64)}


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element of x with probability p, and scale the others by 1 / (1 - p).

    Draws from torch's global generator of the device, as torch's own dropout does.
    """
    if x.device.type != "cpu":
        return nn.functional.dropout(x, p)
    dropped = round(p * 65536)  # of 65536 equally probable values
    if dropped in (0, 65536):
        return nn.functional.dropout(x, float(dropped != 0))
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(_LEAST[64], None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = bits >= _LEAST[16] + dropped
    return x * kept.to(x.dtype).mul_(65536 / (65536 - dropped))


class Dropout(nn.Dropout):
    """Replaces torch's module of the same name."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


def replace_dropouts(module: nn.Module) -> None:
    """Replace all dropout modules below ``module``."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
