"""Classifies GPU errors: caused by the trial, by a lack of memory, or by the process.

After some CUDA errors (an illegal memory access, a failed assertion on the device, a memory error
of the hardware) all later calls in the process fail too. Such an error does not blame the trial.
"""

import atexit
import ctypes
import gc
import traceback
from contextlib import suppress
from functools import cache

import torch

from aa_ray.errors import DeviceError
from aa_ray.trial import Precision

# Phrases in the messages of errors for which torch has no class.
_OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                  "CUDNN_STATUS_ALLOC_FAILED")  # fmt: skip
_DEVICE = ("CUDA error", "cuBLAS", "CUBLAS_STATUS", "CUDNN_STATUS", "NVML", "CUDA driver error")


def set_precision(precision: Precision) -> None:
    """Set how exactly a GPU computes float32 products, for trials of this precision."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or _says(error, _OUT_OF_MEMORY)


def is_fault(error: BaseException) -> bool:
    """Whether the GPU or the process caused the error, not the trial."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or _says(error, _DEVICE)


def _says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)


def check(device: torch.device, error: BaseException) -> None:
    """Check, after an error, whether this process can still use the device.

    Raises:
        DeviceError: it cannot.
    """
    fault = error if is_fault(error) else None
    if fault is None and device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except Exception as failure:
            fault = failure
    if fault is not None:
        text = " ".join(str(fault).split())[:300]
        raise DeviceError(f"the GPU fails in this process ({type(fault).__name__}: {text})")


def free(error: BaseException) -> None:
    """Release everything that the frames of a failed computation hold, including device memory."""
    failure: BaseException | None = error
    while failure is not None:
        traceback.clear_frames(failure.__traceback__)
        failure = failure.__context__
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def trim() -> None:
    """Return free memory to the system, so that a worker process can train thousands of trials.

    Batches have many sizes, so the C heap fragments, and trials leave cycles of Python objects,
    which the collector would keep for a long time. Only glibc can give memory back. What exists at
    the first call, such as modules and the backbone, stays and is not looked at again, which would
    take a third of a second.
    """
    gc.collect()
    _freeze_once()
    trim_heap()


def trim_heap() -> None:
    """Return the free memory of the C heap to the system, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _freeze_once() -> None:
    """Move all existing objects out of the collector's sight, in the first call only."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries look for leaks at the end
