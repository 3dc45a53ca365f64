"""From the host to the device, without waiting for the device."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, on its way while the host goes on; on the CPU the tensor itself.

    From memory that may be swapped out, torch copies only when the device has done all that it was
    given. So the tensor goes through pinned memory first.
    """
    if device.type == "cuda" and torch.cuda.is_available():  # it is not where a device is simulated
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
