"""BERT's self-attention on batches without padding: within each example, in groups."""

from typing import Any

import torch
from torch import Tensor, nn

from aa_ray.training.cpu_layers import dropout
from aa_ray.training.unpadded import Group, Packed


def attention(layer: Any, hidden: Tensor, batch: Packed) -> Tensor:
    """Self-attention within each example, [rows, T, H].

    Args:
        layer: transformers' ``BertSelfAttention``, or a copy of it.
        hidden: [rows, T, H], where rows are the batch's contexts, or so many copies of its one.
    """
    copies = len(hidden) // batch.num_contexts
    query, key, value = (
        batch.to_groups(part(hidden).reshape(copies, -1, hidden.shape[-1]))  # [copies, P, H]
        for part in (layer.query, layer.key, layer.value)
    )
    p = layer.dropout.p if layer.training else 0.0
    sizes = [group.rows * group.length for group in batch.groups]
    outputs = []
    for group, q, k, v in zip(
        batch.groups, *(x.split(sizes, dim=1) for x in (query, key, value)), strict=True
    ):
        shape = (copies * group.rows, group.length, layer.num_attention_heads, -1)
        q, k, v = (x.reshape(shape).transpose(1, 2) for x in (q, k, v))  # heads before length
        attended = _attend(q, k, v, group, copies, p).transpose(1, 2)
        outputs.append(attended.reshape(copies, -1, hidden.shape[-1]))  # [copies, rows * length, H]
    return batch.to_tokens(torch.cat(outputs, dim=1)).reshape(hidden.shape)


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
