"""BERT's output sub-layer with the adapters of several contexts: gathered, stacked, applied.

The equations are those of ``aa_ray.core.adapter``. Contexts whose adapters have equal settings and
stand next to each other are computed in one go.

Shapes: U of the batch's contexts have an adapter in the layer; B examples each, T tokens, H hidden
units.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from aa_ray.core.adapter import (
    ADAPTER,
    IDENTITY,
    AdaptableAdapter,
    SwitchSettings,
    hard_weights,
    soft_weights,
)
from aa_ray.core.architectures import RELU
from aa_ray.core.rational import rational
from aa_ray.training.context import TrialContext
from aa_ray.training.unpadded import Packed

# Called with (layer, contexts, inputs [U, T, units]) of what the layer's rationals see.
Observer = Callable[[int, Sequence[TrialContext], Tensor], None]


@dataclass(frozen=True)
class AdaptedRows:
    """The rows of the hidden states that have an adapter in a layer.

    Attributes:
        indices: which rows these are, [U].
        contexts: whose they are, [U].
        membership: [U, T, B], which tokens are of which example; [1, T, B] if all look at the same
            ones. None in evaluation, where it is not needed.
        observe: is shown what the rationals see.
    """

    layer: int
    indices: list[int]
    contexts: list[TrialContext]
    membership: Tensor | None = None
    observe: Observer | None = None

    @classmethod
    def of(
        cls, layer: int, owners: Sequence[object], batch: Packed, observe: Observer | None = None
    ) -> "AdaptedRows":
        """Those whose owner is a context with an adapter in the layer."""
        contexts = {
            index: owner
            for index, owner in enumerate(owners)
            if isinstance(owner, TrialContext) and owner.adapts(layer)
        }
        indices = list(contexts)
        membership = None
        if any(context.noise is not None for context in contexts.values()):
            membership = batch.membership
            if len(membership) > 1:
                membership = _gather(membership, indices)
        return cls(layer, indices, list(contexts.values()), membership, observe)

    @property
    def adapters(self) -> list[AdaptableAdapter]:
        return [context.trial_model.adapter(self.layer) for context in self.contexts]

    def runs(self, key: Callable[[TrialContext], Hashable]) -> Iterator[tuple[Any, slice]]:
        """Contexts of equal key that stand next to each other: the key, and where they are."""
        start = 0
        for value, run in groupby(self.contexts, key):
            end = start + len(list(run))
            yield value, slice(start, end)
            start = end


def output_layer(output: Any, intermediate: Tensor, residual: Tensor, rows: AdaptedRows) -> Tensor:
    """BERT's output sub-layer with the contexts' adapters, [rows, T, H].

    Args:
        output: transformers' ``BertOutput``.
        intermediate, residual: [rows, T, intermediate size] and [rows, T, H].
        rows: those with an adapter; the others are the plain layer LN(h + i).
    """
    h = output.dropout(output.dense(intermediate))
    x = output.LayerNorm(h + residual)
    if not rows.indices:
        return x
    gathered = {"x": _gather(x, rows.indices), "h": _gather(h, rows.indices)}  # [U, T, H]
    branches = _adapt(**gathered, rows=rows)
    adapted = output.LayerNorm(branches + _gather(residual, rows.indices))
    return _scatter(adapted, rows.indices, x)


def _gather(x: Tensor, indices: list[int]) -> Tensor:
    """These rows of x, without a copy if they are all."""
    return x if len(indices) == len(x) else x[indices]


def _scatter(values: Tensor, indices: list[int], x: Tensor) -> Tensor:
    """x with the values in these rows, without a copy if they are all."""
    if len(indices) == len(x):
        return values
    return x.index_copy(0, torch.tensor(indices, device=x.device), values.to(x.dtype))


def _adapt(x: Tensor, h: Tensor, rows: AdaptedRows) -> Tensor:
    """The contexts' adapters, behind their switches; x = LN(h + i) and h are [U, T, H]."""
    down = _stacked([adapter.adapter_down[0] for adapter in rows.adapters], x.dtype)
    up = _stacked([adapter.adapter_up for adapter in rows.adapters], x.dtype)
    units = torch.baddbmm(down[1], x, down[0])  # [U, T, units]
    activated = _activate(units, rows)
    if rows.observe is not None:
        rows.observe(rows.layer, rows.contexts, units)
    return _switch(x, h, torch.baddbmm(up[1], activated, up[0]), rows)


def _stacked(linears: list[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [U, in, out] and biases [U, 1, out] in the backbone's type, for ``baddbmm``."""
    weights = torch.stack([linear.weight for linear in linears]).to(dtype)
    biases = torch.stack([linear.bias for linear in linears]).to(dtype)
    return weights.transpose(1, 2), biases[:, None]


def _activate(units: Tensor, rows: AdaptedRows) -> Tensor:
    """Each context's activation of [U, T, units]; rationals, and ReLUs, in one go."""

    def activation(context: TrialContext) -> tuple[bool, Hashable]:
        module = context.trial_model.rationals.get(rows.layer)
        if module is None:
            return False, context.trial_model.trial.activation
        return True, (module.version, module.gradient)

    parts = []
    for (is_rational, name), run in rows.runs(activation):
        inputs = _part(units, run)
        if is_rational:
            parts.append(_rationals(rows.layer, inputs, rows.contexts[run]))
        elif name == RELU:
            parts.append(torch.relu(inputs))
        else:  # what AdapterHub knows under that name; it may have parameters
            functions = [adapter.non_linearity for adapter in rows.adapters[run]]
            outputs = [f(x).to(x.dtype) for f, x in zip(functions, inputs, strict=True)]
            parts.append(torch.stack(outputs))
    return _joined(parts)


def _rationals(layer: int, x: Tensor, contexts: Sequence[TrialContext]) -> Tensor:
    """The contexts' rationals of x, [contexts, T, units]; all of one version and gradient."""
    modules = [context.trial_model.rationals[layer] for context in contexts]
    numerators = torch.stack([module.numerator for module in modules])  # [contexts, 6]
    denominators = torch.stack([module.denominator for module in modules])  # [contexts, 4]
    return rational(x, numerators, denominators, modules[0].version, modules[0].gradient)


def _switch(x: Tensor, h: Tensor, up: Tensor, rows: AdaptedRows) -> Tensor:
    """What the contexts' adapters return, behind their switches if they have any; [U, T, H]."""

    def settings(context: TrialContext) -> tuple[SwitchSettings | None, bool]:
        switch = context.trial_model.adapter(rows.layer).switch
        return None if switch is None else switch.settings, context.noise is None

    parts = []
    for (switch, _), run in rows.runs(settings):
        branches = _part(x, run), _part(h, run), _part(up, run)
        if switch is None:
            parts.append(branches[2] + branches[1])
        else:
            parts.append(_mixture(*branches, switch, _weights(run, switch, rows)))
    return _joined(parts)


def _mixture(x: Tensor, h: Tensor, up: Tensor, switch: SwitchSettings, weights: Tensor) -> Tensor:
    """The branches of a switch, weighted: as ``AdaptableAdapter`` has them.

    x, h and up are [contexts, T, H], weights [contexts, T or 1, 2].
    """
    adapter = up + h if switch.skip else up  # D1
    identity = h if switch.identity == "plain" else x + h  # D2
    weights = weights.to(x.dtype)[..., None]  # [contexts, T or 1, 2, 1]
    return weights[:, :, ADAPTER] * adapter + weights[:, :, IDENTITY] * identity


def _weights(run: slice, switch: SwitchSettings, rows: AdaptedRows) -> Tensor:
    """Weights of (identity, adapter): soft, [contexts, T, 2], in training; hard otherwise.

    The hard ones are the same for every token: [contexts, 1, 2].
    """
    contexts, membership = rows.contexts[run], rows.membership
    logits = torch.stack([context.trial_model.switch(rows.layer).logits for context in contexts])
    noise = [context.noise[rows.layer] for context in contexts if context.noise is not None]
    if membership is None or not noise:
        return hard_weights(logits)[:, None]
    of_examples = soft_weights(logits[:, None], torch.stack(noise), switch.temperature)
    if len(membership) > 1:
        membership = _part(membership, run)
    # A product, not a selection, whose gradient would be summed in any order on a GPU.
    return torch.matmul(membership, of_examples)  # [contexts, T, B] x [contexts, B, 2]


def _part(x: Tensor, run: slice) -> Tensor:
    """These rows of x, without a slice's gradient if they are all."""
    return x if run == slice(0, len(x)) else x[run]


def _joined(parts: list[Tensor]) -> Tensor:
    """The runs' results, one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
