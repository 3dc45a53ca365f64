"""K trials side by side through one frozen BERT: the forward pass.

A batch holds the rows of several streams, one after the other. A stream is a member (a trial) with
its examples; its adapters are stacked with those of the others and applied as batched matrix
products, while everything frozen sees one large batch. Where streams share their examples, as in a
test, whatever lies below a stream's lowest adapter is computed once for all.

Shapes: S streams, B examples each, L tokens, H hidden units, U of the S streams that have an
adapter in the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from aa_ray.model import Member
from aa_ray.rational import rational
from aa_ray.switch import ADAPTER, IDENTITY, switch_weights
from aa_ray.trial import Trial

# Called with (layer, streams, inputs [U, B, L, units]) of what the layer's rationals see.
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
    rational_ = trial.activation.startswith("rational:")
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): 3}[
        rational_, trial.switched
    ]


def forward(
    bert: BertForSequenceClassification,
    inputs: dict[str, Tensor],
    streams: Sequence[Stream],
    shared: bool = False,
    observe: Observer | None = None,
) -> Tensor:
    """Logits [S, B, outputs] of every stream; streams ordered by ``kind``.

    Args:
        bert: the frozen model, with the members' adapters; its mode decides on dropout.
        inputs: token ids, segment ids and attention mask, [S * B, L], or [B, L] if ``shared``.
        shared: every stream looks at the same examples.
        observe: is shown what the rationals see.
    """
    base = bert.base_model
    hidden = base.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
    mask = _attention_mask(inputs["attention_mask"], hidden.dtype)
    rows: list[Stream | None] = [None] if shared else list(streams)
    for layer, block in enumerate(base.encoder.layer):
        if shared:
            hidden, rows = _fork(hidden, rows, streams, layer)
        of_rows = mask.repeat(len(rows), 1, 1, 1) if shared else mask
        residual = block.attention(hidden, attention_mask=of_rows)[0]
        hidden = output_layer(
            block.output, layer, block.intermediate(residual), residual, rows, observe
        )
    pooled = bert.dropout(base.pooler(hidden)).unflatten(0, (len(rows), -1))  # [rows, B, H]
    if shared:
        pooled = pooled[[rows.index(s if s in rows else None) for s in streams]]
    weights = torch.stack([s.member.classifier.weight for s in streams])  # [S, outputs, H]
    biases = torch.stack([s.member.classifier.bias for s in streams])
    return torch.baddbmm(biases[:, None], pooled.to(weights.dtype), weights.transpose(1, 2))


def _attention_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """[rows, L] of ones and zeros -> [rows, 1, L, L] to be added to the attention scores."""
    added = (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min
    return added.expand(-1, 1, mask.shape[1], -1)


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
    return hidden.unflatten(0, (len(rows), -1))[source].flatten(0, 1), own


def output_layer(
    output: Any,
    layer: int,
    intermediate: Tensor,
    residual: Tensor,
    rows: Sequence[Stream | None],
    observe: Observer | None = None,
) -> Tensor:
    """BERT's output sub-layer with each stream's adapter, [rows * B, L, H].

    Args:
        output: transformers' ``BertOutput``.
        intermediate, residual: [rows * B, L, intermediate size] and [rows * B, L, H].
        rows: the streams; None is the plain layer LN(h + i).
    """
    h = output.dropout(output.dense(intermediate))
    x = output.LayerNorm(h + residual)
    adapting = {k: row for k, row in enumerate(rows) if row is not None and row.adapts(layer)}
    if not adapting:
        return x
    used, streams = list(adapting), list(adapting.values())
    every = len(used) == len(rows)
    of_rows = [t.unflatten(0, (len(rows), -1)) for t in (x, h, residual)]
    x_, h_, residual_ = of_rows if every else [t[used] for t in of_rows]
    adapted = output.LayerNorm(_adapt(layer, x_, h_, streams, observe) + residual_)
    if every:
        return adapted.flatten(0, 1)
    index = torch.tensor(used, device=x.device)
    return of_rows[0].index_copy(0, index, adapted.to(x.dtype)).flatten(0, 1)


def _adapt(
    layer: int, x: Tensor, h: Tensor, streams: Sequence[Stream], observe: Observer | None
) -> Tensor:
    """The streams' adapters, behind their switches; x = LN(h + i) and h are [U, B, L, H]."""
    adapters = [stream.member.adapter(layer) for stream in streams]
    down = _stacked([adapter.adapter_down[0] for adapter in adapters])
    up = _stacked([adapter.adapter_up for adapter in adapters])
    seen = torch.baddbmm(down[1], x.flatten(1, 2), down[0]).view(*x.shape[:3], -1)
    units = _activate(layer, seen, streams)
    if observe is not None:
        observe(layer, streams, seen)
    branch = torch.baddbmm(up[1], units.flatten(1, 2), up[0]).view_as(x)
    skip = torch.tensor(
        [not s.member.trial.switched or s.member.trial.switch_skip == "yes" for s in streams]
    )
    branch = branch + (h if skip.all() else h * skip.to(h)[:, None, None, None])
    return _switch(layer, x, h, branch, streams)


def _stacked(linears: list[Any]) -> tuple[Tensor, Tensor]:
    """Weights [U, in, out] and biases [U, 1, out], for ``baddbmm``."""
    weights = torch.stack([linear.weight for linear in linears])
    return weights.transpose(1, 2), torch.stack([linear.bias for linear in linears])[:, None]


def _activate(layer: int, seen: Tensor, streams: Sequence[Stream]) -> Tensor:
    """Rational for the streams that come first, ReLU for the others; [U, B, L, units]."""
    modules = [s.member.rationals[layer] for s in streams if s.member.rationals]
    if not modules:
        return torch.relu(seen)
    numerators = torch.stack([module.numerator for module in modules])
    denominators = torch.stack([module.denominator for module in modules])
    count, first = len(modules), modules[0]
    y = rational(seen[:count], numerators, denominators, first.version, first.gradient)
    return y if count == len(streams) else torch.cat([y, torch.relu(seen[count:])])


def _switch(layer: int, x: Tensor, h: Tensor, branch: Tensor, streams: Sequence[Stream]) -> Tensor:
    """Mix the branches where a stream has a switch; they stand together. All [U, B, L, H]."""
    where = [index for index, stream in enumerate(streams) if stream.member.trial.switched]
    if not where:
        return branch
    part = slice(where[0], where[-1] + 1)
    weights = _weights(layer, streams[part], x.shape[1])[..., None, None].to(x.dtype)
    plain = streams[where[0]].member.trial.switch_identity == "plain"
    identity = h[part] if plain else x[part] + h[part]
    mixed = weights[:, :, ADAPTER] * branch[part] + weights[:, :, IDENTITY] * identity
    return torch.cat([branch[: part.start], mixed, branch[part.stop :]])


def _weights(layer: int, streams: Sequence[Stream], batch: int) -> Tensor:
    """Weights of (identity, adapter), [len(streams), B, 2]: soft in training, hard otherwise."""
    logits = torch.stack([s.member.switch(layer).logits for s in streams])[:, None]
    noise = [stream.noise[layer] for stream in streams if stream.noise is not None]
    if noise:
        tau = streams[0].member.trial.temperature
        return switch_weights(logits, torch.stack(noise), tau)
    adapter = (logits[..., ADAPTER] > logits[..., IDENTITY]).to(logits.dtype)
    weights = torch.stack([1 - adapter, adapter], dim=-1)  # [streams, 1, 2]; identity first
    return weights.expand(-1, batch, -1)
