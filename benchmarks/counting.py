"""Count the work of a GPU: kernels, bytes, floating-point operations, copies and waits.

``Counter`` sees every operator on a fake GPU (``benchmarks.fake_gpu``), below autograd. One
operator counts as one kernel, except for those in ``KERNELS``. An operator's bytes are those of its
arguments and results, each counted once, as if no cache kept anything.
"""

import math
from collections import Counter as Bag
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Kernels of operators that take more than one, by torch's CUDA sources and by rational_triton.
KERNELS = {
    "aten._flash_attention_backward": 3,  # sums over outputs, the gradients, their conversion
    "aten._efficient_attention_backward": 2,
    "aten._scaled_dot_product_efficient_attention_backward": 2,
    "aten.index_put": 8,  # sorts the indices
    "aten._index_put_impl_": 8,
    "aten.embedding_dense_backward": 6,
    "aten.nll_loss_forward": 1,
    "aten.linalg_vector_norm": 2,
    "aa_ray.rational_backward": 6,  # the kernel, two sums of its parts, and the signs
}
# Bytes per element of the first result of what an operator moves besides: FlashAttention adds the
# queries' gradients up in float32, which it clears, adds to, and reads.
BESIDES = {"aten._flash_attention_backward": 16}
TENSORS_PER_KERNEL = 40  # of operators that take lists, for two or three lists

# Operators that only describe memory anew, or reserve it.
NOTHING = frozenset(
    f"aten.{name}"
    for name in (
        "empty empty_like empty_strided new_empty new_empty_strided detach _unsafe_view alias lift "
        "lift_fresh resize_ set_ is_same_size sym_size sym_numel sym_stride sym_storage_offset "
        "record_stream"
    ).split()
) | {"prim.device"}

# Operators whose result needs numbers on the host, or has a shape that depends on numbers.
WAITING = frozenset(
    f"aten.{name}"
    for name in (
        "_local_scalar_dense nonzero masked_select item is_nonzero equal unique _unique2".split()
    )
)


@dataclass
class Work:
    """The work of one phase of a step.

    Attributes:
        seconds: estimated by a ``Roofline``, if the counter has one.
        copies: between host and device.
        waits: how often the host waited for the device, by reason.
    """

    kernels: int = 0
    bytes: int = 0
    flops: int = 0
    copies: int = 0
    waits: Bag[str] = field(default_factory=Bag)
    matrix: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    elementwise_bytes: list[int] = field(default_factory=list)

    def add(self, name: str, count: int, moved: int, flops: int, dtype: torch.dtype | None) -> None:
        """Count one operator: its kernels, bytes and FLOPs."""
        self.kernels += count
        self.bytes += moved
        self.flops += flops
        if flops:
            kind = "half" if dtype in (torch.bfloat16, torch.float16) else "full"
            self.matrix.setdefault(kind, []).append((flops, moved))
        else:
            self.elementwise_bytes.append(moved)


class Counter(TorchDispatchMode):
    """Counts by phase. ``phase`` names the current phase; None counts nothing.

    Attributes:
        pairs: number of token pairs that attend to each other in the current batch. The shapes of
            attention without padding do not show it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase: str | None = None
        self.phases: dict[str, Work] = {}
        self.operators: Bag[str] = Bag()
        self.pairs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = f"{func.namespace}.{func._schema.name.split('::')[1]}"
        work = None if self.phase is None else self.phases.setdefault(self.phase, Work())
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if work is not None and name in WAITING and any(x.is_cuda for x in inputs):
            work.waits[name] += 1
        if name == "aten._local_scalar_dense":  # a number, whatever it may be
            return 1.0 if args[0].is_floating_point() else 1
        result = func(*args, **kwargs)
        if work is not None:
            outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
            self._count(work, func, name, args, kwargs, inputs, outputs)
        return result

    def _count(
        self, work: Work, func: Any, name: str, args: Any, kwargs: Any,
        inputs: list[Tensor], outputs: list[Tensor],
    ) -> None:  # fmt: skip
        at_gpu = [x.is_cuda for x in (*inputs, *outputs)]
        if func.is_view or name in NOTHING or not any(at_gpu):
            return
        if name in ("aten._to_copy", "aten.copy_", "aten.to") and not all(at_gpu):
            work.copies += 1
            if not kwargs.get("non_blocking", name == "aten.copy_" and len(args) > 2 and args[2]):
                work.waits["a copy that blocks"] += 1
            return
        indices = [x for x in inputs if not x.is_cuda and x.dim() > 0]
        if indices:  # a list or host tensor as index, which torch copies before it goes on
            work.copies += len(indices)
            work.waits[f"{name} with indices of the host"] += len(indices)
        if name == "aten.index" and any(x.dtype == torch.bool for x in inputs):
            work.waits["a boolean index"] += 1
        flops = FLOPS[name](self, args, outputs) if name in FLOPS else 0
        dtype = next((x.dtype for x in inputs if x.is_floating_point()), None)
        work.add(name, _kernels(name, inputs), _bytes(name, inputs, outputs), flops, dtype)
        self.operators[f"{self.phase} {name}"] += 1


def _kernels(name: str, inputs: list[Tensor]) -> int:
    if name.startswith(("aten._foreach", "aten._fused")):
        largest = sum(x.is_cuda for x in inputs)
        lists = 4 if name.startswith("aten._fused") else 2
        return max(1, math.ceil(largest / lists / TENSORS_PER_KERNEL))
    return KERNELS.get(name, 1)


def _bytes(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Return the bytes of arguments and results. Of a table, only the rows looked up count."""
    if name in ("aten.index_select", "aten.embedding", "aten.index", "aten.gather"):
        inputs = [*inputs[1:], *outputs]  # reads as much as it writes
    written = {id(x) for x in inputs}
    besides = BESIDES[name] * outputs[0].numel() if name in BESIDES else 0
    results = sum(_size(x) for x in outputs if id(x) not in written)
    return besides + results + sum(_size(x) for x in inputs)


def _size(x: Tensor) -> int:
    """Return the bytes behind a tensor. An expanded dimension counts once."""
    if not x.is_cuda:
        return 0
    elements = math.prod(n for n, stride in zip(x.shape, x.stride(), strict=True) if stride != 0)
    return elements * x.element_size()


def _product(left: int, right: int) -> Callable[[Counter, Any, list[Tensor]], int]:
    """2 m k n for the matrices at these argument positions, times the batch."""

    def flops(counter: Counter, args: Any, outputs: list[Tensor]) -> int:
        return 2 * math.prod(args[left].shape) * args[right].shape[-1]

    return flops


def _varlen(products: int, at: int) -> Callable[[Counter, Any, list[Tensor]], int]:
    """Count this many products over the sequences' token pairs; the query is at ``at``."""

    def flops(counter: Counter, args: Any, outputs: list[Tensor]) -> int:
        return 2 * products * counter.pairs * args[at].shape[-1] * args[at].shape[-2]

    return flops


def _padded(products: int, at: int) -> Callable[[Counter, Any, list[Tensor]], int]:
    """The same for queries of shape [rows, heads, length, units], padding included."""

    def flops(counter: Counter, args: Any, outputs: list[Tensor]) -> int:
        return 2 * products * math.prod(args[at].shape) * args[at].shape[2]

    return flops


FLOPS: dict[str, Callable[[Counter, Any, list[Tensor]], int]] = {
    "aten.mm": _product(0, 1),
    "aten.bmm": _product(0, 1),
    "aten.addmm": _product(1, 2),
    "aten.baddbmm": _product(1, 2),
    "aten._flash_attention_forward": _varlen(2, 0),
    "aten._flash_attention_backward": _varlen(5, 1),
    "aten._efficient_attention_forward": _varlen(2, 0),
    "aten._efficient_attention_backward": _varlen(5, 1),
    "aten._scaled_dot_product_efficient_attention": _padded(2, 0),
    "aten._scaled_dot_product_efficient_attention_backward": _padded(5, 1),
}
