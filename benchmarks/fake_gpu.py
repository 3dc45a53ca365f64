"""A GPU that computes nothing: its tensors have a shape, a dtype and a device, but no data.

torch's FakeTensorMode simulates any device, but autograd asks the device's own library for streams
and events, and a CPU build of torch has none. ``fake_gpu`` adds entries that do nothing to the two
tables in which torch looks for them. It finds the tables through the headers that ship with torch.
Every operator then sees the device it would see on a GPU, and torch makes the same choices.
"""

import contextlib
import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import optimizer
from torch.utils import _foreach_utils

CUDA = 1  # in c10::DeviceType
META = 14

_FOLDER = Path(torch.__path__[0])
_GUARD = "c10/core/impl/DeviceGuardImplInterface.h"
_HOOKS = "ATen/detail/AcceleratorHooksInterface.h"
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_GET_HOOKS = "_ZN2at6detail12getCUDAHooksEv"


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeTensorMode]:
    """In this context, tensors on "cuda" are fake, and so are results of operators on others."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with contextlib.ExitStack() as stack:
        if not torch.backends.cuda.is_built():
            stack.enter_context(_device_library())
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        # On a GPU optimisers take many tensors at a time, if they know the tensors' type.
        for known in (_foreach_utils._foreach_supported_types, optimizer._foreach_supported_types):
            stack.enter_context(_with(known, FakeTensor))
        stack.enter_context(
            mock.patch.object(nn.functional, "scaled_dot_product_attention", _efficient)
        )
        stack.enter_context(mock.patch.object(nn.Module, "_apply", _applied))
        with mode:
            yield mode
        gc.collect()  # fake tensors do not outlive the device


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, p: float = 0.0
) -> Tensor:
    """The kernel that torch chooses on a GPU when there is a mask. Here it cannot choose one."""
    if mask is not None:
        mask = mask.expand(*query.shape[:3], key.shape[2])
    outputs = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, mask, torch.is_grad_enabled(), p
    )
    return outputs[0]


def _applied(
    module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """Replaces ``nn.Module._apply``, which would swap the data of tensors that others refer to."""
    if recurse:
        for child in module.children():
            _applied(child, change)
    with torch.no_grad():
        for name, p in module._parameters.items():
            if p is not None and (changed := change(p)) is not p:
                module._parameters[name] = nn.Parameter(changed, p.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = change(buffer)
    return module


@contextlib.contextmanager
def _with(target: list[Any], value: Any) -> Iterator[None]:
    """Make the list one element longer inside this context."""
    target.append(value)
    try:
        yield
    finally:
        target.remove(value)


_Table = ctypes.POINTER(ctypes.c_void_p)  # of a class's virtual functions
_Nothing = ctypes.CFUNCTYPE(None)
_Number = ctypes.CFUNCTYPE(ctypes.c_int64)


@contextlib.contextmanager
def _device_library() -> Iterator[None]:
    """Stand-ins for what torch asks of the device's library."""
    # A device, a stream's first half, and a number of devices: all of them are 1 for cuda:0.
    one, none, nothing = _Number(lambda: CUDA), _Number(lambda: 0), _Nothing(lambda: None)
    guard_calls = dict.fromkeys(
        ("destroyEvent", "record", "block", "recordDataPtrOnStream"), nothing
    )
    guard_calls |= dict.fromkeys(
        ("type", "exchangeDevice", "getDevice", "getStream", "getDefaultStream", "exchangeStream",
         "deviceCount"), one,
    )  # fmt: skip
    core = ctypes.CDLL(str(_FOLDER / "lib" / "libc10.so"))
    registry = (ctypes.c_void_p * (META + 1)).in_dll(core, _REGISTRY)
    guard_table = _changed(_table_of(registry[META]), _GUARD, guard_calls)
    guard = ctypes.c_void_p(ctypes.addressof(guard_table))  # an object without members

    get_hooks = getattr(ctypes.CDLL(str(_FOLDER / "lib" / "libtorch_cpu.so")), _GET_HOOKS)
    get_hooks.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(get_hooks())
    # The table has more entries than the header of its base class names: CUDA's own follow.
    hooks_table = _changed(
        ctypes.cast(hooks, _Table), _HOOKS, {"isBuilt": one, "hasPrimaryContext": none}, 64
    )
    before = registry[CUDA], hooks.value
    registry[CUDA], hooks.value = ctypes.addressof(guard), ctypes.addressof(hooks_table)
    try:
        yield
    finally:
        registry[CUDA], hooks.value = before


def _table_of(address: int | None) -> Any:
    """Return an object's virtual function table, which its first field points to."""
    assert address, "torch has no such object"
    return ctypes.cast(ctypes.c_void_p.from_address(address), _Table)


def _changed(table: Any, header: str, calls: dict[str, Any], more: int = 0) -> Any:
    """Return a copy of a virtual function table with some entries replaced.

    Args:
        header: declares the functions in the order of the table.
        more: entries that follow those of the header.
    """
    names = _virtual_functions(_FOLDER / "include" / header)
    copy = (ctypes.c_void_p * (len(names) + more))(*table[: len(names) + more])
    for name, call in calls.items():
        copy[names.index(name)] = ctypes.cast(call, ctypes.c_void_p).value
    return copy


def _virtual_functions(header: Path) -> list[str]:
    """Return the functions in table order. A destructor has two entries."""
    declared = re.findall(r"^ +virtual [\w:<>&* ]*?(~?\w+)\(", header.read_text(), re.MULTILINE)
    return [name for name in declared for _ in range(2 if name.startswith("~") else 1)]
