"""K trials side by side through one frozen BERT: the forward pass.

A batch holds the rows of several streams, one after the other. A stream is a member (a trial) with
its examples; its adapters are stacked with those of the others and applied as batched matrix
products, while everything frozen sees one large batch. Where streams share their examples, as in a
test, whatever lies below a stream's lowest adapter is computed once for all.

Shapes: S streams, B examples each, T tokens (see ``aa_ray.training.unpadded``), H hidden units, U
of the S streams that have an adapter in the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray.core.adapter import ADAPTER, IDENTITY, switch_weights
from aa_ray.core.architectures import RELU
from aa_ray.core.model import Member
from aa_ray.core.rational import rational
from aa_ray.training.dropout import dropout
from aa_ray.training.unpadded import Group, Packed
from aa_ray.trial import Trial

# Called with (layer, streams, inputs [U, T, units]) of what the layer's rationals see.
Observer = Callable[[int, Sequence["Stream"], Tensor], None]


@dataclass(frozen=True, eq=False)
class Stream:
    """A member's rows of a batch.

    Attributes:
        first: adapters of layers below are skipped (AdapterDrop).
        noise: layer -> Gumbel noise [B, 2] in training; None in evaluation, where the larger logit
            decides.
    """

    member: Member
    first: int = 0
    noise: dict[int, Tensor] | None = None

    def adapts(self, layer: int) -> bool:
        """Whether the layer is another than the plain one for this stream."""
        return layer >= self.first and str(layer) in self.member.adapters

    @property
    def lowest(self) -> float:
        """The first layer that adapts; infinity where none does."""
        return min(
            (layer for layer in self.member.layers if layer >= self.first), default=torch.inf
        )


def kind(trial: Trial) -> int:
    """Streams have to come in this order, so that rationals, and switches, stand together."""
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): 3}[
        trial.rational, trial.switched
    ]


def forward(
    bert: BertForSequenceClassification,
    batch: Packed,
    streams: Sequence[Stream],
    shared: bool = False,
    observe: Observer | None = None,
) -> Tensor:
    """Logits [S, B, outputs] of every stream; streams ordered by ``kind``.

    Args:
        bert: the frozen model, with the members' adapters; its mode decides on dropout.
        batch: the streams' examples, or those of all of them if ``shared``.
        shared: every stream looks at the same examples.
        observe: is shown what the rationals see.
    """
    base = bert.base_model
    hidden = base.embeddings(**batch.inputs)  # [rows, T, H]
    rows: list[Stream | None] = [None] if shared else list(streams)
    for layer, block in enumerate(base.encoder.layer):
        if shared:
            hidden, rows = _fork(hidden, rows, streams, layer)
        residual = block.attention.output(attention(block.attention.self, hidden, batch), hidden)
        hidden = output_layer(
            block.output, layer, block.intermediate(residual), residual, rows, batch.membership,
            observe,
        )  # fmt: skip
    # [rows, T, H] -> [rows, B, H]; the first token of an example is [CLS].
    first = hidden.reshape(-1, len(batch.places), hidden.shape[-1]).index_select(1, batch.first)
    pooled = bert.dropout(base.pooler(first.reshape(-1, 1, hidden.shape[-1])))
    pooled = pooled.unflatten(0, (len(rows), -1))
    if shared:
        pooled = pooled[[rows.index(s if s in rows else None) for s in streams]]
    weights = torch.stack([s.member.classifier.weight for s in streams])  # [S, outputs, H]
    biases = torch.stack([s.member.classifier.bias for s in streams])
    return torch.baddbmm(biases[:, None], pooled.to(weights.dtype), weights.transpose(1, 2))


def attention(layer: Any, hidden: Tensor, batch: Packed) -> Tensor:
    """Self-attention within each example, [rows, T, H].

    Args:
        layer: transformers' ``BertSelfAttention``.
        hidden: [rows, T, H], where rows are the batch's streams, or so many copies of its one.
    """
    copies = len(hidden) // batch.streams
    query, key, value = (
        batch.to_groups(part(hidden).reshape(copies, -1, hidden.shape[-1]))  # [copies, P, H]
        for part in (layer.query, layer.key, layer.value)
    )
    p = layer.dropout.p if layer.training else 0.0
    sizes = [group.rows * group.length for group in batch.groups]
    contexts = []
    for group, q, k, v in zip(
        batch.groups, *(x.split(sizes, dim=1) for x in (query, key, value)), strict=True
    ):
        shape = (copies * group.rows, group.length, layer.num_attention_heads, -1)
        q, k, v = (x.reshape(shape).transpose(1, 2) for x in (q, k, v))  # heads before length
        found = _attend(q, k, v, group, copies, p)
        contexts.append(found.transpose(1, 2).reshape(copies, -1, hidden.shape[-1]))
    return batch.to_tokens(torch.cat(contexts, dim=1)).reshape(hidden.shape)


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


def _fork(
    hidden: Tensor, rows: list[Stream | None], streams: Sequence[Stream], layer: int
) -> tuple[Tensor, list[Stream | None]]:
    """Give the streams whose lowest adapter is in this layer rows of their own.

    ``rows`` says whose the rows of ``hidden`` are; None stands for all streams that have had no
    adapter so far.
    """
    if not any(stream.lowest == layer for stream in streams):
        return hidden, rows
    own: list[Stream | None] = [stream for stream in streams if stream.lowest <= layer]
    if len(own) < len(streams):
        own.append(None)
    source = [rows.index(row if row in rows else None) for row in own]
    return hidden[source], own


def output_layer(
    output: Any,
    layer: int,
    intermediate: Tensor,
    residual: Tensor,
    rows: Sequence[Stream | None],
    membership: Tensor,
    observe: Observer | None = None,
) -> Tensor:
    """BERT's output sub-layer with each stream's adapter, [rows, T, H].

    Args:
        output: transformers' ``BertOutput``.
        intermediate, residual: [rows, T, intermediate size] and [rows, T, H].
        rows: the streams; None is the plain layer LN(h + i).
        membership: [S, T, B], which tokens are of which example; see ``Packed``.
    """
    h = output.dropout(output.dense(intermediate))
    x = output.LayerNorm(h + residual)
    adapting = {k: row for k, row in enumerate(rows) if row is not None and row.adapts(layer)}
    if not adapting:
        return x
    used, streams = list(adapting), list(adapting.values())
    every = len(used) == len(rows)
    x_, h_, residual_ = (t if every else t[used] for t in (x, h, residual))
    if len(membership) > 1 and not every:
        membership = membership[used]
    branches = _adapt(layer, x_, h_, streams, membership, observe)
    adapted = output.LayerNorm(branches + residual_)
    if every:
        return adapted
    index = torch.tensor(used, device=x.device)
    return x.index_copy(0, index, adapted.to(x.dtype))


def _adapt(
    layer: int,
    x: Tensor,
    h: Tensor,
    streams: Sequence[Stream],
    membership: Tensor,
    observe: Observer | None,
) -> Tensor:
    """The streams' adapters, behind their switches; x = LN(h + i) and h are [U, T, H]."""
    adapters = [stream.member.adapter(layer) for stream in streams]
    down = _stacked([adapter.adapter_down[0] for adapter in adapters], x.dtype)
    up = _stacked([adapter.adapter_up for adapter in adapters], x.dtype)
    seen = torch.baddbmm(down[1], x, down[0])  # [U, T, units]
    units = _activate(layer, seen, streams)
    if observe is not None:
        observe(layer, streams, seen)
    branch = torch.baddbmm(up[1], units, up[0])
    skip = torch.tensor(
        [not s.member.trial.switched or s.member.trial.switch_skip == "yes" for s in streams]
    )
    branch = branch + (h if skip.all() else h * skip.to(h)[:, None, None])
    return _switch(layer, x, h, branch, streams, membership)


def _stacked(linears: list[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [U, in, out] and biases [U, 1, out] in the backbone's type, for ``baddbmm``."""
    weights = torch.stack([linear.weight for linear in linears]).to(dtype)
    biases = torch.stack([linear.bias for linear in linears]).to(dtype)
    return weights.transpose(1, 2), biases[:, None]


def _activate(layer: int, seen: Tensor, streams: Sequence[Stream]) -> Tensor:
    """Rational for the streams that come first, then each its own; [U, T, units]."""
    modules = [s.member.rationals[layer] for s in streams if s.member.rationals]
    if not modules:
        return _activate_others(layer, seen, streams)
    numerators = torch.stack([module.numerator for module in modules])
    denominators = torch.stack([module.denominator for module in modules])
    count, first = len(modules), modules[0]
    y = rational(seen[:count], numerators, denominators, first.version, first.gradient)
    if count == len(streams):
        return y
    return torch.cat([y, _activate_others(layer, seen[count:], streams[count:])])


def _activate_others(layer: int, seen: Tensor, streams: Sequence[Stream]) -> Tensor:
    """ReLU for all at once, or what AdapterHub knows under each stream's name; [U, T, units]."""
    if all(s.member.trial.activation == RELU for s in streams):
        return torch.relu(seen)
    functions = [s.member.adapter(layer).non_linearity for s in streams]
    return torch.stack([f(x).to(x.dtype) for f, x in zip(functions, seen, strict=True)])


def _switch(
    layer: int,
    x: Tensor,
    h: Tensor,
    branch: Tensor,
    streams: Sequence[Stream],
    membership: Tensor,
) -> Tensor:
    """Mix the branches where a stream has a switch; they stand together. All [U, T, H]."""
    where = [index for index, stream in enumerate(streams) if stream.member.trial.switched]
    if not where:
        return branch
    part = slice(where[0], where[-1] + 1)
    weights = _weights(
        layer, streams[part], membership[part] if len(membership) > 1 else membership
    )
    weights = weights.to(x.dtype)[..., None]  # [streams, T or 1, 2, 1]
    plain = streams[where[0]].member.trial.switch_identity == "plain"
    identity = h[part] if plain else x[part] + h[part]
    mixed = weights[:, :, ADAPTER] * branch[part] + weights[:, :, IDENTITY] * identity
    return torch.cat([branch[: part.start], mixed, branch[part.stop :]])


def _weights(layer: int, streams: Sequence[Stream], membership: Tensor) -> Tensor:
    """Weights of (identity, adapter): soft, [streams, T, 2], in training; hard otherwise.

    The hard ones are the same for every token: [streams, 1, 2].
    """
    logits = torch.stack([s.member.switch(layer).logits for s in streams])[:, None]
    noise = [stream.noise[layer] for stream in streams if stream.noise is not None]
    if noise:
        tau = streams[0].member.trial.temperature
        of_examples = switch_weights(logits, torch.stack(noise), tau)  # [streams, B, 2]
        # A product, not a selection, whose gradient would be summed in any order on a GPU.
        return torch.matmul(membership, of_examples)
    adapter = (logits[..., ADAPTER] > logits[..., IDENTITY]).to(logits.dtype)
    return torch.stack([1 - adapter, adapter], dim=-1)  # identity first
