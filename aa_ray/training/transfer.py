"""Copies from the host to the device without waiting for the device."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """An asynchronous copy on the device; on the CPU the tensor itself.

    Torch copies from pageable memory only after the device has finished all its work. So the tensor
    is copied to pinned memory first.
    """
    if device.type == "cuda" and torch.cuda.is_available():  # False for a simulated device
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
