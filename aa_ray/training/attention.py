"""BERT's self-attention, within each example, on batches without padding.

On a GPU one kernel handles examples of all lengths (``aa_ray.training.varlen``). Without such a
kernel, examples of similar length are padded to form groups.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aa_ray.training import varlen
from aa_ray.training.cpu_layers import dropout
from aa_ray.training.frozen import projections
from aa_ray.training.unpadded import Group, Packed


def attention(layer: Any, hidden: Tensor, batch: Packed) -> Tensor:
    """Self-attention within each example, [rows, T, H].

    Args:
        layer: transformers' ``BertSelfAttention``, or a copy of it.
        hidden: [rows, T, H], one row per context of the batch, or several copies of its only one.
    """
    heads, units = layer.num_attention_heads, layer.attention_head_size
    p = layer.dropout.p if layer.training else 0.0
    projected = projections(layer, hidden)  # [rows, T, 3 H]
    kernel = varlen.kernel(hidden.device, projected.dtype, heads, units, p > 0)
    if kernel is None:
        return _in_groups(projected, batch, heads, p)
    copies = len(hidden) // batch.num_contexts
    query, key, value = projected.reshape(-1, 3, heads, units).unbind(1)  # [rows * T, ...]
    return kernel(query, key, value, batch.sequences(copies), p).reshape(hidden.shape)


def _in_groups(projected: Tensor, batch: Packed, heads: int, p: float) -> Tensor:
    """The attention of query, key and value [rows, T, 3 H], group by group: [rows, T, H]."""
    rows, tokens, width = projected.shape
    copies = rows // batch.num_contexts
    positions = batch.to_groups(projected.reshape(copies, -1, width))  # [copies, P, 3 H]
    sizes = [group.rows * group.length for group in batch.groups]
    parts = [positions] if len(sizes) == 1 else positions.split(sizes, dim=1)
    outputs = []
    for group, of_group in zip(batch.groups, parts, strict=True):
        shape = (copies * group.rows, group.length, 3, heads, -1)
        q, k, v = (x.transpose(1, 2) for x in of_group.reshape(shape).unbind(2))
        attended = _attend(q, k, v, group, copies, p).transpose(1, 2)
        outputs.append(attended.reshape(copies, -1, width // 3))  # [copies, rows * length, H]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
    return batch.to_tokens(joined).reshape(rows, tokens, -1)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, group: Group, copies: int, p: float
) -> Tensor:
    """Scaled dot products, softmax, dropout with probability p: [rows, heads, length, units]."""
    blocked = group.mask(query.dtype, copies)
    if p == 0 or query.is_cuda:
        if blocked is not None:
            blocked = blocked.expand(-1, 1, group.length, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value, blocked, p)
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if blocked is not None:
        scores = scores + blocked
    return torch.matmul(dropout(scores.softmax(dim=-1), p), value)
