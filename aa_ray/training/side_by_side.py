"""K trials side by side through one frozen BERT: the forward pass.

A batch holds the rows of several contexts, one after the other. A context is a trial's model with
its examples. Its adapters are stacked with those of the others and applied as batched matrix
products, while everything frozen sees one large batch. Where contexts share their examples, as in a
test, whatever lies below a context's lowest adapter is computed once for all.

Shapes: S contexts, B examples each, T tokens (see ``aa_ray.training.unpadded``), H hidden units, U
of the S contexts that have an adapter in the layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray.core.adapter import ADAPTER, IDENTITY, switch_weights
from aa_ray.core.architectures import RELU
from aa_ray.core.model import TrialModel
from aa_ray.core.rational import rational
from aa_ray.training.cpu_layers import dropout
from aa_ray.training.unpadded import Group, Packed
from aa_ray.trial import Pooling, Trial

# Called with (layer, contexts, inputs [U, T, units]) of what the layer's rationals see.
Observer = Callable[[int, Sequence["TrialContext"], Tensor], None]


@dataclass(frozen=True, eq=False)
class TrialContext:
    """A trial_model's rows of a batch.

    Attributes:
        first: adapters of layers below are skipped (AdapterDrop).
        noise: layer -> Gumbel noise [B, 2] in training; None in evaluation, where the larger logit
            decides.
    """

    trial_model: TrialModel
    first: int = 0
    noise: dict[int, Tensor] | None = None

    def adapts(self, layer: int) -> bool:
        """Whether the layer is another than the plain one for this context."""
        return layer >= self.first and str(layer) in self.trial_model.adapters

    @property
    def lowest(self) -> float:
        """The first layer that adapts; infinity where none does."""
        return min(
            (layer for layer in self.trial_model.layers if layer >= self.first), default=torch.inf
        )


def kind(trial: Trial) -> int:
    """Streams have to come in this order, so that rationals, and switches, stand together."""
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): 3}[
        trial.rational, trial.switched
    ]


def forward(
    bert: BertForSequenceClassification,
    batch: Packed,
    contexts: Sequence[TrialContext],
    shared: bool = False,
    observe: Observer | None = None,
) -> Tensor:
    """Logits [S, B, outputs] of every context; contexts ordered by ``kind``.

    Args:
        bert: the frozen model, with the trial_models' adapters; its mode decides on dropout.
        batch: the contexts' examples, or those of all of them if ``shared``.
        shared: every context looks at the same examples.
        observe: is shown what the rationals see.
    """
    base = bert.base_model
    hidden = base.embeddings(**batch.inputs)  # [rows, T, H]
    rows: list[TrialContext | None] = [None] if shared else list(contexts)
    for layer, block in enumerate(base.encoder.layer):
        if shared:
            hidden, rows = _fork(hidden, rows, contexts, layer)
        residual = block.attention.output(attention(block.attention.self, hidden, batch), hidden)
        hidden = output_layer(
            block.output, layer, block.intermediate(residual), residual, rows, batch.membership,
            observe,
        )  # fmt: skip
    pooled = pooled_output(base, hidden, batch, contexts[0].trial_model.trial.pooling)
    pooled = bert.dropout(pooled)  # [rows, B, H]
    if shared:
        pooled = pooled[[rows.index(s if s in rows else None) for s in contexts]]
    weights = torch.stack([s.trial_model.classifier.weight for s in contexts])  # [S, outputs, H]
    biases = torch.stack([s.trial_model.classifier.bias for s in contexts])
    return torch.baddbmm(biases[:, None], pooled.to(weights.dtype), weights.transpose(1, 2))


def pooled_output(base: Any, hidden: Tensor, batch: Packed, pooling: Pooling) -> Tensor:
    """What the classifier reads of each example, [rows, B, H].

    Args:
        base: transformers' ``BertModel``.
        hidden: the last layer's output, [rows, T, H], where rows are the batch's contexts, or so
            many copies of its one.
        pooling: see ``Trial``.
    """
    width = hidden.shape[-1]
    if pooling == "mean":
        tokens = batch.membership.sum(dim=1)[..., None]  # [contexts, B, 1], the examples' lengths
        sums = torch.matmul(batch.membership.transpose(1, 2), hidden.to(tokens.dtype))
        return sums / tokens
    # [rows, T, H] -> [copies, B of all contexts, H]; the first token of an example is [CLS].
    first = hidden.reshape(-1, len(batch.places), width).index_select(1, batch.first)
    pooled = base.pooler(first.reshape(-1, 1, width))
    return cast(Tensor, pooled.unflatten(0, (len(hidden), -1)))


def attention(layer: Any, hidden: Tensor, batch: Packed) -> Tensor:
    """Self-attention within each example, [rows, T, H].

    Args:
        layer: transformers' ``BertSelfAttention``.
        hidden: [rows, T, H], where rows are the batch's contexts, or so many copies of its one.
    """
    copies = len(hidden) // batch.contexts
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
        found = _attend(q, k, v, group, copies, p)
        outputs.append(found.transpose(1, 2).reshape(copies, -1, hidden.shape[-1]))
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


def _fork(
    hidden: Tensor, rows: list[TrialContext | None], contexts: Sequence[TrialContext], layer: int
) -> tuple[Tensor, list[TrialContext | None]]:
    """Give the contexts whose lowest adapter is in this layer rows of their own.

    ``rows`` says whose the rows of ``hidden`` are; None stands for all contexts that have had no
    adapter so far.
    """
    if not any(context.lowest == layer for context in contexts):
        return hidden, rows
    own: list[TrialContext | None] = [context for context in contexts if context.lowest <= layer]
    if len(own) < len(contexts):
        own.append(None)
    source = [rows.index(row if row in rows else None) for row in own]
    return hidden[source], own


def output_layer(
    output: Any,
    layer: int,
    intermediate: Tensor,
    residual: Tensor,
    rows: Sequence[TrialContext | None],
    membership: Tensor,
    observe: Observer | None = None,
) -> Tensor:
    """BERT's output sub-layer with each context's adapter, [rows, T, H].

    Args:
        output: transformers' ``BertOutput``.
        intermediate, residual: [rows, T, intermediate size] and [rows, T, H].
        rows: the contexts; None is the plain layer LN(h + i).
        membership: [S, T, B], which tokens are of which example; see ``Packed``.
    """
    h = output.dropout(output.dense(intermediate))
    x = output.LayerNorm(h + residual)
    adapting = {k: row for k, row in enumerate(rows) if row is not None and row.adapts(layer)}
    if not adapting:
        return x
    used, contexts = list(adapting), list(adapting.values())
    every = len(used) == len(rows)
    x_, h_, residual_ = (t if every else t[used] for t in (x, h, residual))
    if len(membership) > 1 and not every:
        membership = membership[used]
    branches = _adapt(layer, x_, h_, contexts, membership, observe)
    adapted = output.LayerNorm(branches + residual_)
    if every:
        return adapted
    index = torch.tensor(used, device=x.device)
    return x.index_copy(0, index, adapted.to(x.dtype))


def _adapt(
    layer: int,
    x: Tensor,
    h: Tensor,
    contexts: Sequence[TrialContext],
    membership: Tensor,
    observe: Observer | None,
) -> Tensor:
    """The contexts' adapters, behind their switches; x = LN(h + i) and h are [U, T, H]."""
    adapters = [context.trial_model.adapter(layer) for context in contexts]
    down = _stacked([adapter.adapter_down[0] for adapter in adapters], x.dtype)
    up = _stacked([adapter.adapter_up for adapter in adapters], x.dtype)
    seen = torch.baddbmm(down[1], x, down[0])  # [U, T, units]
    units = _activate(layer, seen, contexts)
    if observe is not None:
        observe(layer, contexts, seen)
    branch = torch.baddbmm(up[1], units, up[0])
    skip = torch.tensor(
        [
            not s.trial_model.trial.switched or s.trial_model.trial.switch_skip == "yes"
            for s in contexts
        ]
    )
    branch = branch + (h if skip.all() else h * skip.to(h)[:, None, None])
    return _switch(layer, x, h, branch, contexts, membership)


def _stacked(linears: list[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [U, in, out] and biases [U, 1, out] in the backbone's type, for ``baddbmm``."""
    weights = torch.stack([linear.weight for linear in linears]).to(dtype)
    biases = torch.stack([linear.bias for linear in linears]).to(dtype)
    return weights.transpose(1, 2), biases[:, None]


def _activate(layer: int, seen: Tensor, contexts: Sequence[TrialContext]) -> Tensor:
    """Rational for the contexts that come first, then each its own; [U, T, units]."""
    modules = [s.trial_model.rationals[layer] for s in contexts if s.trial_model.rationals]
    if not modules:
        return _activate_others(layer, seen, contexts)
    numerators = torch.stack([module.numerator for module in modules])
    denominators = torch.stack([module.denominator for module in modules])
    count, first = len(modules), modules[0]
    y = rational(seen[:count], numerators, denominators, first.version, first.gradient)
    if count == len(contexts):
        return y
    return torch.cat([y, _activate_others(layer, seen[count:], contexts[count:])])


def _activate_others(layer: int, seen: Tensor, contexts: Sequence[TrialContext]) -> Tensor:
    """ReLU for all at once, or what AdapterHub knows under each context's name; [U, T, units]."""
    if all(s.trial_model.trial.activation == RELU for s in contexts):
        return torch.relu(seen)
    functions = [s.trial_model.adapter(layer).non_linearity for s in contexts]
    return torch.stack([f(x).to(x.dtype) for f, x in zip(functions, seen, strict=True)])


def _switch(
    layer: int,
    x: Tensor,
    h: Tensor,
    branch: Tensor,
    contexts: Sequence[TrialContext],
    membership: Tensor,
) -> Tensor:
    """Mix the branches where a context has a switch; they stand together. All [U, T, H]."""
    where = [index for index, context in enumerate(contexts) if context.trial_model.trial.switched]
    if not where:
        return branch
    part = slice(where[0], where[-1] + 1)
    weights = _weights(
        layer, contexts[part], membership[part] if len(membership) > 1 else membership
    )
    weights = weights.to(x.dtype)[..., None]  # [contexts, T or 1, 2, 1]
    plain = contexts[where[0]].trial_model.trial.switch_identity == "plain"
    identity = h[part] if plain else x[part] + h[part]
    mixed = weights[:, :, ADAPTER] * branch[part] + weights[:, :, IDENTITY] * identity
    return torch.cat([branch[: part.start], mixed, branch[part.stop :]])


def _weights(layer: int, contexts: Sequence[TrialContext], membership: Tensor) -> Tensor:
    """Weights of (identity, adapter): soft, [contexts, T, 2], in training; hard otherwise.

    The hard ones are the same for every token: [contexts, 1, 2].
    """
    logits = torch.stack([s.trial_model.switch(layer).logits for s in contexts])[:, None]
    noise = [context.noise[layer] for context in contexts if context.noise is not None]
    if noise:
        tau = contexts[0].trial_model.trial.temperature
        of_examples = switch_weights(logits, torch.stack(noise), tau)  # [contexts, B, 2]
        # A product, not a selection, whose gradient would be summed in any order on a GPU.
        return torch.matmul(membership, of_examples)
    adapter = (logits[..., ADAPTER] > logits[..., IDENTITY]).to(logits.dtype)
    return torch.stack([1 - adapter, adapter], dim=-1)  # identity first
