"""BERT's self-attention, within each example, on batches without padding.

On a GPU one kernel handles examples of all lengths (``aa_ray.training.varlen``). Without such a
kernel, examples of similar length are padded to form groups.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aa_ray.training import varlen
from aa_ray.training.cpu_layers import dropout
from aa_ray.training.frozen import linear
from aa_ray.training.unpadded import Group, Packed


def attention(layer: Any, hidden: Tensor, batch: Packed) -> Tensor:
    """Self-attention within each example, [rows, T, H].

    Args:
        layer: transformers' ``BertSelfAttention``, or a copy of it.
        hidden: [rows, T, H], one row per context of the batch, or several copies of its only one.
    """
    heads, units = layer.num_attention_heads, layer.attention_head_size
    p = layer.dropout.p if layer.training else 0.0
    parts = layer.query, layer.key, layer.value
    projections = [linear(part, hidden) for part in parts]  # [rows, T, H]
    kernel = varlen.kernel(hidden.device, projections[0].dtype, heads, units)
    if kernel is None or (p > 0 and not varlen.TRAINS):
        return _in_groups(projections, batch, heads, p)
    copies = len(hidden) // batch.num_contexts
    query, key, value = (x.reshape(-1, heads, units) for x in projections)  # [rows * T, ...]
    return kernel(query, key, value, batch.sequences(copies), p).reshape(hidden.shape)


def _in_groups(projections: list[Tensor], batch: Packed, heads: int, p: float) -> Tensor:
    """The attention of query, key and value, group by group; all [rows, T, H]."""
    shape = projections[0].shape
    copies = shape[0] // batch.num_contexts
    positions = [
        batch.to_groups(x.reshape(copies, -1, shape[-1]))  # [copies, P, H]
        for x in projections
    ]
    sizes = [group.rows * group.length for group in batch.groups]
    outputs = []
    for group, *parts in zip(
        batch.groups, *(x.split(sizes, dim=1) for x in positions), strict=True
    ):
        rows = (copies * group.rows, group.length, heads, -1)
        q, k, v = (x.reshape(rows).transpose(1, 2) for x in parts)  # heads before tokens
        attended = _attend(q, k, v, group, copies, p).transpose(1, 2)
        outputs.append(attended.reshape(copies, -1, shape[-1]))  # [copies, rows * length, H]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
    return batch.to_tokens(joined).reshape(shape)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, group: Group, copies: int, p: float
) -> Tensor:
    """Scaled dot products, softmax, dropout with probability p: [rows, heads, length, units]."""
    blocked = None
    if group.blocked is not None:
        blocked = group.blocked.to(query.dtype).repeat(copies, 1, 1, 1)
    if p == 0 or query.is_cuda:
        if blocked is not None:
            blocked = blocked.expand(-1, 1, group.length, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value, blocked, p)
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if blocked is not None:
        scores = scores + blocked
    return torch.matmul(dropout(scores.softmax(dim=-1), p), value)
