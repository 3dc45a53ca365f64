"""Attention over sequences of different lengths without padding, with torch's CUDA kernels.

The sequences are concatenated, and cumulative lengths say where each one ends. torch has two such
kernels, both with dropout and a derivative: FlashAttention for half precision, and
memory-efficient attention, also for float32. ``torch.nn.attention.varlen`` has no dropout (torch
2.13).

These operators are not part of torch's documented interface. So ``kernel`` compares each once with
plain attention. If none works, ``aa_ray.training.attention`` pads.

Dropout is checked separately. On an H100 (torch 2.11), the backward pass of the memory-efficient
kernel drops other weights than its forward pass if sequences are concatenated, and all heads drop
the same ones. Training runs that used it ended with up to twice the training loss. FlashAttention's
gradients are right. So on that GPU training in half precision does not pad, and in float32 it does.

Shapes: N sequences with n tokens in total; heads, and units per head.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


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
def kernel(
    device: torch.device, dtype: torch.dtype, heads: int, units: int, dropout: bool = False
) -> Kernel | None:
    """The fastest kernel that works on the device; None if there is none, as on the CPU.

    Args:
        dropout: whether the kernel must also be right with dropout.
    """
    if device.type != "cuda":
        return None
    known = candidates(dtype)
    return next((k for k in known if works(k, device, dtype, heads, units, dropout)), None)


def works(
    kernel: Kernel,
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    units: int,
    dropout: bool = False,
) -> bool:
    """Whether it agrees with plain attention, forward and backward, on request with dropout too.

    Restores the state of the device's generator.
    """
    others = [device] if device.type == "cuda" else []  # generators in addition to the CPU's
    try:
        with torch.random.fork_rng(others), torch.inference_mode(False), torch.enable_grad():
            agrees = _agrees(kernel, device, dtype, heads, units)
            return agrees and (not dropout or _drops(kernel, device, dtype, heads, units))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # not for this GPU or shape, or this version of torch
        return False


PROBED = (1, 7, 130, 64)  # lengths of the sequences for trying a kernel

# Largest relative error of the norm. A wrong kernel is wrong by far more.
TOLERANCE = {torch.bfloat16: 3e-2, torch.float16: 1e-2}


def _probe(
    device: torch.device, dtype: torch.dtype, heads: int, units: int
) -> tuple[Sequences, Tensor]:
    """Sequences on the device; query, key, value and the output's gradient, [4, n, heads, units].

    The tensors are the same on every device, and in main memory.
    """
    ends = torch.tensor([0, *PROBED]).cumsum(0).int().to(device)
    generator = torch.Generator().manual_seed(0)
    tensors = torch.randn((4, sum(PROBED), heads, units), generator=generator).to(dtype)
    return Sequences(ends, max(PROBED)), tensors


def _agrees(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, units: int
) -> bool:
    sequences, (*inputs, upstream) = _probe(device, dtype, heads, units)
    results = []
    for place, compute in (("cpu", plain), (device, kernel)):
        query, key, value = (x.detach().to(place).requires_grad_() for x in inputs)
        output = compute(query, key, value, sequences, 0.0)
        gradients = torch.autograd.grad(output, (query, key, value), upstream.to(place))
        results.append([x.detach().float().cpu() for x in (output, *gradients)])
    most = TOLERANCE.get(dtype, 5e-3)  # TF32 may be on
    return all(bool((a - b).norm() <= most * a.norm()) for a, b in zip(*results, strict=True))


def _drops(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, units: int
) -> bool:
    """Whether the backward pass drops the weights that the forward pass drops, head by head.

    The output is linear in the value. So with the output itself as its gradient, the product of
    value and gradient is the squared norm of the output; with another mask it is about half of it.
    """
    sequences, (query, key, value, _) = _probe(device, dtype, heads, units)
    query, key, value = (x.to(device).requires_grad_() for x in (query, key, value))
    dropped = kernel(query, key, value, sequences, 0.5)
    [gradient] = torch.autograd.grad(dropped, value, dropped.detach())
    squared = dropped.detach().double().square().sum()
    product = (value.detach().double() * gradient.double()).sum()
    if not bool((squared - product).abs() <= 0.1 * squared):  # True for NaN
        return False
    with torch.no_grad():  # equal weights, values of 1: the share of weights that a head kept
        kept = kernel(torch.zeros_like(query), key, torch.ones_like(value), sequences, 0.5)[..., 0]
    return heads == 1 or not torch.equal(kept[:, 0], kept[:, 1])


def plain(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, p: float) -> Tensor:
    """The reference for the kernels: plain attention, sequence by sequence, in float32."""
    sizes = sequences.ends.diff().tolist()
    outputs = []
    for of_sequence in zip(*(x.split(sizes) for x in (query, key, value)), strict=True):
        q, k, v = (x.float().transpose(0, 1) for x in of_sequence)  # [heads, length, units]
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        outputs.append((torch.dropout(weights, p, train=True) @ v).transpose(0, 1))
    return torch.cat(outputs).to(query.dtype)
