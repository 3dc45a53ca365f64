"""The engine ``fused``: K trials side by side through one frozen encoder with BERT's layers.

A batch holds the rows of several contexts, one after the other. A context is a trial's model with
its examples. Its adapters are stacked with those of the others and applied as batched matrix
products, while everything frozen sees one large batch. Where contexts share their examples, as in a
test, whatever lies below a context's lowest adapter is computed once for all.

It computes what AdapterHub's forward pass does with ``aa_ray.core.adapter``, without the padding.
tests/training/test_against_adapterhub.py compares logits and gradients for every method and
deviation. Why AdapterHub's own ways to run several adapters on one batch, BatchSplit and Parallel,
do not serve: they need the same layers in every adapter (then they agree with this module), and end
in a TypeError or KeyError where the layers differ, as they do in AA-focused.

Shapes: S contexts, B examples each, T tokens (see ``aa_ray.training.unpadded``), H hidden units, U
of the S contexts that have an adapter in the layer.
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
    """Owns the row that stands for all contexts that have had no adapter so far."""


SHARED = _Shared()
Owner = TrialContext | _Shared


def forward(
    bert: PreTrainedModel,
    batch: Packed,
    contexts: Sequence[TrialContext],
    shared: bool = False,
    observe: Observer | None = None,
) -> Tensor:
    """Logits [S, B, outputs] of every context.

    Args:
        bert: the frozen model, with the trials' adapters; its mode decides on dropout.
        batch: the contexts' examples, or those of all of them if ``shared``.
        contexts: in any order (``context.sort_key`` gives the fastest), and of one pooling.
        shared: all contexts look at the same examples.
        observe: is shown what the rationals see.
    """
    hidden = embedded(bert, batch)  # [rows, T, H]
    owners: list[Owner] = [SHARED] if shared else list(contexts)  # of each row
    for layer, block in enumerate(bert.base_model.encoder.layer):
        if shared:
            hidden, owners = _fork(hidden, owners, contexts, layer)
        hidden = layer_output(block, hidden, batch, AdaptedRows.of(layer, owners, batch, observe))
    [pooling] = {context.trial_model.trial.pooling for context in contexts}  # of a group's trials
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
    """What the classifier reads of each example, [rows, B, H].

    Args:
        hidden: the last layer's output, [rows, T, H], where rows are the batch's contexts, or so
            many copies of its one.
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
    """Logits [S, B, outputs] by each context's own classifier, as in ``heads``; pooled [S, B, H].

    Args:
        layers: weights [S, in, out] and biases [S, 1, out] of the classifiers' linear layers.
        dropout: goes before each linear layer.
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
    """Give each context whose lowest adapter is in this layer a row of its own."""
    if not any(context.lowest == layer for context in contexts):
        return hidden, owners
    forked: list[Owner] = [context for context in contexts if context.lowest <= layer]
    if len(forked) < len(contexts):
        forked.append(SHARED)
    return select(hidden, [_row_of(owner, owners) for owner in forked]), forked


def _row_of(owner: Owner, owners: list[Owner]) -> int:
    """The row with what the owner has computed so far: its own, or the shared one."""
    return owners.index(owner if owner in owners else SHARED)
