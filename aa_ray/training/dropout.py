"""Dropout on the CPU with 16 random bits per element.

Torch draws a 64-bit number for each element there, one after the other, which takes longer than the
linear layer before it. Four elements per draw give the same distribution, with the probability
rounded to 1/65536.
"""

import torch
from torch import Tensor, nn

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
    """In place of torch's module of that name."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


def replace_dropouts(module: nn.Module) -> None:
    """Replace every dropout below ``module``."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
