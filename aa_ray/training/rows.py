"""Selects rows of a tensor and writes them back, without synchronising host and device.

Indexing with a list copies it from the host, and torch then waits until the device has finished all
its work. So adjacent rows are selected as a slice, and for others the index is copied only once.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from aa_ray.training.transfer import sent


def gather(x: Tensor, indices: Sequence[int]) -> Tensor:
    """These rows of x, ascending; without a copy if they are all rows, or adjacent."""
    if len(indices) == x.shape[0]:
        return x
    if _are_neighbours(indices):
        return x[indices[0] : indices[-1] + 1]
    return select(x, indices)


def select(x: Tensor, indices: Sequence[int]) -> Tensor:
    """These rows of x, in any order and any number."""
    return x.index_select(0, _index_for(x, indices))


def scatter(values: Tensor, indices: Sequence[int], x: Tensor) -> Tensor:
    """x with the values in these rows, ascending; without a copy if they are all rows."""
    if len(indices) == x.shape[0]:
        return values
    values = values.to(x.dtype)
    if _are_neighbours(indices):
        return x.slice_scatter(values, 0, indices[0], indices[-1] + 1)
    return x.index_copy(0, _index_for(x, indices), values)


def _are_neighbours(indices: Sequence[int]) -> bool:
    return indices[-1] - indices[0] + 1 == len(indices)


def _index_for(x: Tensor, indices: Sequence[int]) -> Tensor:
    # The index of a simulated tensor (FakeTensor) belongs to its simulation.
    return _index(tuple(indices), x.device, getattr(x, "fake_mode", None))


@functools.lru_cache(maxsize=1024)
def _index(indices: tuple[int, ...], device: torch.device, _: object) -> Tensor:
    with torch.inference_mode(False):  # training may need it later
        return sent(torch.tensor(indices), device)
