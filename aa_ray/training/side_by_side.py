"""The engine ``fused``: K trials side by side through one frozen encoder with BERT's layers.

A batch consists of one row per context. A context is a trial's model with its examples. The
adapters of all contexts are stacked and applied as batched matrix products, while the frozen layers
see one large batch. If contexts share their examples, as in a test, the layers below a context's
lowest adapter are computed once for all.

The result is that of AdapterHub's forward pass with ``aa_ray.core.adapter``, without the padding.
tests/training/test_against_adapterhub.py compares logits and gradients for all methods and
deviations. AdapterHub's own BatchSplit and Parallel, which run several adapters on one batch, are
no alternative: they need the same layers in all adapters. With equal layers they agree with this
module; with different layers, as in AA-focused, they raise a TypeError or KeyError.

Shapes: S contexts, B examples each, T tokens (see ``aa_ray.training.unpadded``), H hidden units; U
of the S contexts have an adapter in the layer.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from aa_ray.core import heads
from aa_ray.training import frozen
from aa_ray.training.attention import attention
from aa_ray.training.context import TrialContext
from aa_ray.training.rows import select
from aa_ray.training.stacked_adapters import AdaptedRows, Observer, adapted_output
from aa_ray.training.unpadded import Packed
from aa_ray.trial import Pooling


class _Shared:
    """Owner of the row shared by all contexts that have had no adapter so far."""


SHARED = _Shared()
Owner = TrialContext | _Shared


def forward(
    bert: PreTrainedModel,
    batch: Packed,
    contexts: Sequence[TrialContext],
    shared: bool = False,
    observe: Observer | None = None,
) -> Tensor:
    """Logits [S, B, outputs] of all contexts.

    Args:
        bert: the frozen model with the trials' adapters; its mode decides on dropout.
        batch: each context's examples, or if ``shared``, their common examples.
        contexts: contexts with the same pooling, in any order; ``context.sort_key`` gives the
            fastest.
        shared: whether all contexts have the same examples.
        observe: is called with the inputs of the rationals.
    """
    hidden = embedded(bert, batch)  # [rows, T, H]
    owners: list[Owner] = [SHARED] if shared else list(contexts)  # of each row
    for layer, block in enumerate(bert.base_model.encoder.layer):
        if shared:
            hidden, owners = _fork(hidden, owners, contexts, layer)
        hidden = layer_output(block, hidden, batch, AdaptedRows.of(layer, owners, batch, observe))
    [pooling] = {context.trial_model.trial.pooling for context in contexts}  # equal in a group
    pooled = pooled_output(bert, hidden, batch, pooling)  # [rows, B, H]
    if shared:
        pooled = select(pooled, [_row_of(context, owners) for context in contexts])  # [S, B, H]
    return classify(pooled, _classifiers(contexts), bert.dropout)


def layer_output(block: Any, hidden: Tensor, batch: Packed, rows: AdaptedRows) -> Tensor:
    """One of BERT's layers, with adapters in some of the rows, [rows, T, H]."""
    attended = attention(block.attention.self, hidden, batch)
    residual = frozen.attention_output(block.attention.output, attended, hidden)
    h = block.output.dropout(frozen.feed_forward(block.intermediate, block.output, residual))
    return adapted_output(block.output.LayerNorm, h, residual, rows)


def embedded(bert: PreTrainedModel, batch: Packed) -> Tensor:
    """The lowest layer's input, [rows, T, H]; small ELECTRAs have narrower embeddings."""
    embeddings: Tensor = bert.base_model.embeddings(**batch.inputs)
    project = getattr(bert.base_model, "embeddings_project", None)
    return embeddings if project is None else project(embeddings)


def pooled_output(bert: PreTrainedModel, hidden: Tensor, batch: Packed, pooling: Pooling) -> Tensor:
    """The classifier's input for each example, [rows, B, H].

    Args:
        hidden: the last layer's output, [rows, T, H], one row per context of the batch, or several
            copies of its only one.
        pooling: see ``Trial``.
    """
    units = hidden.shape[-1]
    if pooling == "mean":
        lengths = batch.membership.sum(dim=1)[..., None]  # [contexts, B, 1]
        sums = torch.matmul(batch.membership.transpose(1, 2), hidden.to(lengths.dtype))
        return sums / lengths
    tokens = hidden.reshape(-1, batch.num_tokens, units)  # [copies, S * T, H]
    cls = tokens.index_select(1, batch.first_token)  # [copies, S * B, H]
    pooled = cls.reshape(-1, units)  # [copies * S * B, H]
    if heads.has_pooler(bert):
        pooled = bert.base_model.pooler(pooled[:, None])  # reads the only token
    return pooled.unflatten(0, (len(hidden), -1))


def classify(
    pooled: Tensor, layers: Iterable[tuple[Tensor, Tensor]], dropout: Callable[[Tensor], Tensor]
) -> Tensor:
    """Logits [S, B, outputs] from each context's classifier, as in ``heads``; pooled [S, B, H].

    Args:
        layers: weights [S, in, out] and biases [S, 1, out] of the classifiers' linear layers.
        dropout: applied before each linear layer.
    """
    for number, (weights, biases) in enumerate(layers):
        pooled = dropout(torch.tanh(pooled) if number else pooled)
        pooled = torch.baddbmm(biases, pooled.to(weights.dtype), weights)
    return pooled


def _classifiers(contexts: Sequence[TrialContext]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each layer of the contexts' classifiers, stacked."""
    of_contexts = [heads.linears(context.trial_model.classifier) for context in contexts]
    for layers in zip(*of_contexts, strict=True):
        weights = torch.stack([linear.weight for linear in layers])  # [S, out, in]
        biases = torch.stack([linear.bias for linear in layers])
        yield weights.transpose(1, 2), biases[:, None]


def _fork(
    hidden: Tensor, owners: list[Owner], contexts: Sequence[TrialContext], layer: int
) -> tuple[Tensor, list[Owner]]:
    """Give each context whose lowest adapter is in this layer its own row."""
    if not any(context.lowest == layer for context in contexts):
        return hidden, owners
    forked: list[Owner] = [context for context in contexts if context.lowest <= layer]
    if len(forked) < len(contexts):
        forked.append(SHARED)
    return select(hidden, [_row_of(owner, owners) for owner in forked]), forked


def _row_of(owner: Owner, owners: list[Owner]) -> int:
    """The index of the owner's row: its own, or the shared one."""
    return owners.index(owner if owner in owners else SHARED)
