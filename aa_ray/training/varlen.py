"""Attention over sequences of different lengths without padding, with torch's CUDA kernels.

The sequences are concatenated, and cumulative lengths say where each one ends. torch has two such
kernels, both with dropout and a derivative: FlashAttention for half precision, and
memory-efficient attention, also for float32. ``torch.nn.attention.varlen`` has no dropout (torch
2.13).

These operators are not part of torch's documented interface. So ``kernel`` compares each once with
plain attention. If none works, ``aa_ray.training.attention`` pads.

Shapes: N sequences with n tokens in total; heads, and units per head.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Whether training with dropout may use the kernels. Training runs that did (STS-B and SST-2 on one
# H100) ended with up to twice the training loss of runs without, and lower scores. Until the cause
# is known, training pads; evaluation, which has no dropout, does not.
TRAINS = os.environ.get("AA_RAY_VARLEN_TRAINING") == "1"


@dataclass(frozen=True)
class Sequences:
    """The ends of concatenated sequences.

    Attributes:
        ends: [N + 1], int32: 0, then the number of tokens up to the end of each sequence.
        longest: number of tokens of the longest sequence.
    """

    ends: Tensor
    longest: int

    def repeated(self, copies: int) -> "Sequences":
        """These sequences, repeated ``copies`` times."""
        if copies == 1:
            return self
        offsets = torch.arange(copies, dtype=torch.int32, device=self.ends.device) * self.ends[-1]
        ends = (self.ends[1:] + offsets[:, None]).flatten()  # [copies * N]
        return Sequences(torch.cat([self.ends[:1], ends]), self.longest)


# Called with query, key and value [n, heads, units], and the probability of dropout.
Kernel = Callable[[Tensor, Tensor, Tensor, Sequences, float], Tensor]


def flash(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, p: float) -> Tensor:
    """FlashAttention (Dao 2023), [n, heads, units]; bfloat16 or float16."""
    ends, longest = sequences.ends, sequences.longest
    outputs = torch.ops.aten._flash_attention_forward(
        query, key, value, ends, ends, longest, longest, p, False, False
    )
    return outputs[0]


def efficient(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, p: float) -> Tensor:
    """Memory-efficient attention (Rabe and Staats 2021), [n, heads, units]."""
    ends, longest = sequences.ends, sequences.longest
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    outputs = torch.ops.aten._efficient_attention_forward(
        query[None], key[None], value[None], None, ends, ends, longest, longest, p, 0, trained
    )  # the last argument keeps what the backward pass needs
    return outputs[0].squeeze(0)


def candidates(dtype: torch.dtype) -> tuple[Kernel, ...]:
    """The kernels for this type, fastest first."""
    return (flash, efficient) if dtype in (torch.bfloat16, torch.float16) else (efficient,)


@functools.cache
def kernel(device: torch.device, dtype: torch.dtype, heads: int, units: int) -> Kernel | None:
    """The fastest kernel that works on the device; None if there is none, as on the CPU."""
    if device.type != "cuda":
        return None
    return next((k for k in candidates(dtype) if works(k, device, dtype, heads, units)), None)


def works(kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, units: int) -> bool:
    """Whether it agrees with plain attention, forward and backward, and supports dropout.

    Restores the state of the device's generator.
    """
    others = [device] if device.type == "cuda" else []  # generators in addition to the CPU's
    try:
        with torch.random.fork_rng(others), torch.inference_mode(False), torch.enable_grad():
            return _agrees(kernel, device, dtype, heads, units)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # not for this GPU or shape, or this version of torch
        return False


PROBED = (1, 7, 130, 64)  # lengths of the sequences for trying a kernel

# Largest relative error of the norm. A wrong kernel is wrong by far more.
TOLERANCE = {torch.bfloat16: 3e-2, torch.float16: 1e-2}


def _agrees(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, units: int
) -> bool:
    ends = torch.tensor([0, *PROBED]).cumsum(0).int().to(device)
    sequences = Sequences(ends, max(PROBED))
    generator = torch.Generator().manual_seed(0)
    shape = (4, sum(PROBED), heads, units)  # query, key, value, and the output's gradient
    *inputs, upstream = torch.randn(shape, generator=generator).to(dtype)
    results = []
    for place, compute in (("cpu", plain), (device, kernel)):
        query, key, value = (x.detach().to(place).requires_grad_() for x in inputs)
        output = compute(query, key, value, sequences, 0.0)
        gradients = torch.autograd.grad(output, (query, key, value), upstream.to(place))
        results.append([x.detach().float().cpu() for x in (output, *gradients)])
    most = TOLERANCE.get(dtype, 5e-3)  # TF32 may be on
    return all(
        bool((a - b).norm() <= most * a.norm()) for a, b in zip(*results, strict=True)
    ) and _drops_the_same(kernel, (query, key, value), sequences)


def _drops_the_same(
    kernel: Kernel, inputs: tuple[Tensor, Tensor, Tensor], sequences: Sequences
) -> bool:
    """Whether the backward pass drops the weights that the forward pass has dropped.

    The output is linear in the value. So with the output itself as its gradient, the product of
    value and gradient is the squared norm of the output; with another mask it is about half of it.
    """
    dropped = kernel(*inputs, sequences, 0.5)
    [gradient] = torch.autograd.grad(dropped, inputs[2], dropped.detach())
    squared = dropped.detach().double().square().sum()
    product = (inputs[2].detach().double() * gradient.double()).sum()
    return bool((squared - product).abs() <= 0.1 * squared)  # False for NaN


def plain(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, p: float) -> Tensor:
    """The reference for the kernels: plain attention, sequence by sequence, in float32."""
    sizes = sequences.ends.diff().tolist()
    outputs = []
    for of_sequence in zip(*(x.split(sizes) for x in (query, key, value)), strict=True):
        q, k, v = (x.float().transpose(0, 1) for x in of_sequence)  # [heads, length, units]
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        outputs.append((torch.dropout(weights, p, train=True) @ v).transpose(0, 1))
    return torch.cat(outputs).to(query.dtype)
