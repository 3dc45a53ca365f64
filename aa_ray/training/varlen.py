"""Attention over sequences of different lengths without padding, by torch's CUDA kernels.

The sequences stand one after the other, and cumulative lengths say where each ends. torch has two
kernels for that, both with dropout and a derivative: FlashAttention for half precision, and the
memory-efficient one for float32 too. ``torch.nn.attention.varlen`` has no dropout (torch 2.13).

The operators are not part of torch's documented interface. So ``kernel`` tries each once against
plain attention, and has none where it fails; then ``aa_ray.training.attention`` pads.

Shapes: N sequences of n tokens in all; heads, and units per head.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Where sequences end that stand one after the other.

    Attributes:
        ends: [N + 1], int32: 0, then the number of tokens up to the end of each.
        longest: tokens of the longest.
    """

    ends: Tensor
    longest: int

    def repeated(self, copies: int) -> "Sequences":
        """The same sequences so many times, one after the other."""
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
    )  # the last one asks for what the backward pass needs
    return outputs[0].squeeze(0)


def candidates(dtype: torch.dtype) -> tuple[Kernel, ...]:
    """The kernels for numbers of that type, the fastest first."""
    return (flash, efficient) if dtype in (torch.bfloat16, torch.float16) else (efficient,)


@functools.cache
def kernel(device: torch.device, dtype: torch.dtype, heads: int, units: int) -> Kernel | None:
    """The fastest kernel that computes attention there; None where there is none, as on the CPU."""
    if device.type != "cuda":
        return None
    return next((k for k in candidates(dtype) if works(k, device, dtype, heads, units)), None)


def works(kernel: Kernel, device: torch.device, dtype: torch.dtype, heads: int, units: int) -> bool:
    """Whether it agrees with plain attention, forward and backward, and takes dropout.

    Leaves the device's generator as it was.
    """
    others = [device] if device.type == "cuda" else []  # generators, beside the CPU's
    try:
        with torch.random.fork_rng(others), torch.inference_mode(False), torch.enable_grad():
            return _agrees(kernel, device, dtype, heads, units)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):  # not for this GPU or shape, or of another torch
        return False


PROBED = (1, 7, 130, 64)  # lengths of the sequences with which a kernel is tried

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
    dropped = kernel(query, key, value, sequences, 0.5)
    [gradient] = torch.autograd.grad(dropped.sum(), value)
    finite = bool(dropped.isfinite().all() & gradient.isfinite().all())
    most = TOLERANCE.get(dtype, 5e-3)  # TF32 may be on
    return finite and all(
        bool((a - b).norm() <= most * a.norm()) for a, b in zip(*results, strict=True)
    )


def plain(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, p: float) -> Tensor:
    """What the kernels compute, sequence by sequence in float32; as a reference."""
    sizes = sequences.ends.diff().tolist()
    outputs = []
    for of_sequence in zip(*(x.split(sizes) for x in (query, key, value)), strict=True):
        q, k, v = (x.float().transpose(0, 1) for x in of_sequence)  # [heads, length, units]
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        outputs.append((torch.dropout(weights, p, train=True) @ v).transpose(0, 1))
    return torch.cat(outputs).to(query.dtype)
