"""BERT's output sub-layer with the adapters of several contexts: gathered, stacked, applied.

The equations are those of ``aa_ray.core.adapter``. Adjacent contexts whose adapters have equal
settings are computed together.

Shapes: U contexts of the batch have an adapter in the layer; B examples each, T tokens, H hidden
units.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aa_ray.core.adapter import (
    ADAPTER,
    IDENTITY,
    RELEASED,
    AdaptableAdapter,
    SwitchSettings,
    hard_weights,
    soft_weights,
)
from aa_ray.core.architectures import RELU
from aa_ray.core.rational import rational
from aa_ray.training.context import TrialContext
from aa_ray.training.frozen import linear, norm
from aa_ray.training.rows import gather, scatter
from aa_ray.training.unpadded import Packed

# Called with (layer, contexts, inputs [U, T, units] of the layer's rationals).
Observer = Callable[[int, Sequence[TrialContext], Tensor], None]

# A range of adjacent contexts, and what they have in common.
Run = tuple[Any, slice]


@dataclass(frozen=True)
class AdaptedRows:
    """The rows of the hidden states that have an adapter in a layer.

    Attributes:
        indices: indices of these rows, ascending, [U].
        contexts: the context of each row, [U].
        membership: [U, T, B], 1 where a token belongs to an example; [1, T, B] if all contexts have
            the same examples. None in evaluation, where it is not needed.
        observe: is called with the inputs of the rationals.
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
        """The rows whose owner is a context with an adapter in the layer."""
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
                membership = gather(membership, indices)
        return cls(layer, indices, list(contexts.values()), membership, observe)

    @cached_property
    def adapters(self) -> list[AdaptableAdapter]:
        return [context.trial_model.adapter(self.layer) for context in self.contexts]

    @cached_property
    def activations(self) -> list[Run]:
        """Runs of equal activations; the key is (is it a rational, its settings or its name)."""

        def activation(context: TrialContext) -> tuple[bool, Hashable]:
            module = context.trial_model.rationals.get(self.layer)
            if module is None:
                return False, context.trial_model.trial.activation
            return True, (module.version, module.gradient)

        return self._runs(activation)

    @cached_property
    def released(self) -> bool:
        """Whether all switches have the released branches."""
        return all(switch is None or _is_released(switch) for switch, _ in self.switches)

    @cached_property
    def switches(self) -> list[Run]:
        """Runs of equal switches; the key is their settings, None without a switch."""

        def settings(context: TrialContext) -> tuple[SwitchSettings | None, bool]:
            switch = context.trial_model.adapter(self.layer).switch
            return None if switch is None else switch.settings, context.noise is None

        return [(of_run, where) for (of_run, _), where in self._runs(settings)]

    def _runs(self, key: Callable[[TrialContext], Hashable]) -> list[Run]:
        """Runs of adjacent contexts with equal keys: the key, and the range of the contexts."""
        runs, start = [], 0
        for value, run in groupby(self.contexts, key):
            end = start + len(list(run))
            runs.append((value, slice(start, end)))
            start = end
        return runs

    def down(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights [U, H, units] and biases [U, 1, units], for ``baddbmm``."""
        return _stacked([adapter.adapter_down[0] for adapter in self.adapters], dtype)

    def up(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights [U, units, H] and biases [U, 1, H], for ``baddbmm``."""
        return _stacked([adapter.adapter_up for adapter in self.adapters], dtype)

    def coefficients(self, run: slice) -> tuple[Tensor, Tensor]:
        """Numerators [contexts, 6] and denominators [contexts, 4] of a run's rationals."""
        modules = [context.trial_model.rationals[self.layer] for context in self.contexts[run]]
        numerators = torch.stack([module.numerator for module in modules])
        denominators = torch.stack([module.denominator for module in modules])
        return numerators, denominators

    def weights(self, run: slice, switch: SwitchSettings) -> tuple[Tensor, Tensor]:
        """Weights of (identity, adapter) of a run's switches: soft in training, else hard.

        [contexts, T, 1] each; hard ones are the same for every token: [contexts, 1, 1].
        """
        contexts, membership = self.contexts[run], self.membership
        modules = [context.trial_model.switch(self.layer) for context in contexts]
        logits = torch.stack([module.logits for module in modules])
        noise = [context.noise[self.layer] for context in contexts if context.noise is not None]
        if membership is None or not noise:
            weights = hard_weights(logits)[:, None]
        else:
            of_examples = soft_weights(logits[:, None], torch.stack(noise), switch.temperature)
            if len(membership) > 1:
                membership = part(membership, run)
            # A matrix product, since the gradient of a selection has no fixed order on a GPU.
            weights = torch.matmul(membership, of_examples)  # [contexts, T, B] x [contexts, B, 2]
        return weights[..., IDENTITY, None], weights[..., ADAPTER, None]


def _stacked(linears: list[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [U, in, out] and biases [U, 1, out] in the backbone's type."""
    weights = torch.stack([linear.weight for linear in linears]).to(dtype)
    biases = torch.stack([linear.bias for linear in linears]).to(dtype)
    return weights.transpose(1, 2), biases[:, None]


def output_layer(output: Any, intermediate: Tensor, residual: Tensor, rows: AdaptedRows) -> Tensor:
    """BERT's output sub-layer with the contexts' adapters, [rows, T, H].

    Args:
        output: transformers' ``BertOutput``.
        intermediate, residual: [rows, T, intermediate size] and [rows, T, H].
        rows: the rows with an adapter; the others are the plain layer LN(h + i).
    """
    h = output.dropout(linear(output.dense, intermediate))
    return adapted_output(output.LayerNorm, h, residual, rows)


def adapted_output(
    layer_norm: nn.LayerNorm, h: Tensor, residual: Tensor, rows: AdaptedRows
) -> Tensor:
    """The rest of the sub-layer after its dense layer and dropout, whose output is h."""
    total = h + residual
    x = norm(layer_norm, total)
    if not rows.indices:
        return x
    parts = (x, total, residual) if rows.released else (x, total, residual, h)
    branches = Branches(*(gather(part, rows.indices) for part in parts))
    adapted = norm(layer_norm, _adapt(branches, rows))
    return scatter(adapted, rows.indices, x)


class Branches(NamedTuple):
    """What adapters read and what is added to their outputs, [U, T, H] each.

    Attributes:
        x: LN(h + i), the adapters' input.
        total: h + i, which the released adapter adds, with and without a switch.
        residual: i, which every adapter adds.
        h: None if all adapters in the layer are the released ones.
    """

    x: Tensor
    total: Tensor
    residual: Tensor
    h: Tensor | None = None


def _adapt(branches: Branches, rows: AdaptedRows) -> Tensor:
    """The outputs of the contexts' adapters plus the residual, before the last LayerNorm."""
    x = branches.x
    weights, biases = rows.down(x.dtype)
    units = torch.baddbmm(biases, x, weights)  # [U, T, units]
    activated = _activate(units, rows)
    if rows.observe is not None:
        rows.observe(rows.layer, rows.contexts, units)
    weights, biases = rows.up(x.dtype)
    return _switch(branches, torch.baddbmm(biases, activated, weights), rows)


def _activate(units: Tensor, rows: AdaptedRows) -> Tensor:
    """Each context's activation of [U, T, units]; all rationals together, and all ReLUs."""
    parts = []
    runs = rows.activations
    for ((is_rational, settings), run), inputs in zip(runs, _split(units, runs), strict=True):
        if is_rational:
            parts.append(rational(inputs, *rows.coefficients(run), *settings))
        elif settings == RELU:
            parts.append(torch.relu(inputs))
        else:  # another of AdapterHub's activations, which may have parameters
            functions = [adapter.non_linearity for adapter in rows.adapters[run]]
            outputs = [f(x).to(x.dtype) for f, x in zip(functions, inputs, strict=True)]
            parts.append(torch.stack(outputs))
    return _joined(parts)


def _switch(branches: Branches, up: Tensor, rows: AdaptedRows) -> Tensor:
    """The contexts' adapters, behind their switches if they have any, plus the residual."""
    parts = []
    runs = rows.switches
    given = (up, *(x for x in branches if x is not None))
    of_runs = zip(*(_split(x, runs) for x in given), strict=True)
    for (switch, run), (of_up, *of_run) in zip(runs, of_runs, strict=True):
        if switch is None:
            parts.append(of_up + Branches(*of_run).total)
        else:
            weights = rows.weights(run, switch)
            parts.append(_mixture(Branches(*of_run), of_up, switch, weights))
    return _joined(parts)


def _mixture(
    branches: Branches, up: Tensor, switch: SwitchSettings, weights: tuple[Tensor, Tensor]
) -> Tensor:
    """The weighted sum of a switch's branches, as in ``AdaptableAdapter``, plus the residual.

    up is [contexts, T, H], weights of (identity, adapter) [contexts, T or 1, 1] each.
    """
    x, total, residual, h = branches
    of_identity, of_adapter = (of_branch.to(x.dtype) for of_branch in weights)
    if _is_released(switch):  # h is in both branches, whose weights add up to 1
        return _ReleasedMixture.apply(x, total, up, of_identity, of_adapter)
    assert h is not None
    adapter = up + h if switch.skip else up  # D1
    identity = h if switch.identity == "plain" else x + h  # D2
    return of_adapter * adapter + of_identity * identity + residual


def _is_released(switch: SwitchSettings) -> bool:
    """Whether the branches are the released ones, at any temperature."""
    return switch[1:] == RELEASED[1:]


class _ReleasedMixture(torch.autograd.Function):
    """total + of_adapter * up + of_identity * x, in as few passes over memory as possible."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, total: Tensor, up: Tensor, of_identity: Tensor, of_adapter: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, up, of_identity, of_adapter)
        return torch.addcmul(total, of_adapter, up).addcmul_(of_identity, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, up, of_identity, of_adapter = ctx.saved_tensors
        [grad], wanted = grads, ctx.needs_input_grad
        return (
            grad * of_identity if wanted[0] else None,
            grad,
            grad * of_adapter,
            _of_weights(grad, x, of_identity) if wanted[3] else None,
            _of_weights(grad, up, of_adapter) if wanted[4] else None,
        )


def _of_weights(grad: Tensor, branch: Tensor, weights: Tensor) -> Tensor:
    """The gradient of a branch's weights, which are the same for all units of a token."""
    return (grad * branch).sum(dim=-1, keepdim=True).sum_to_size(weights.shape)


def _split(x: Tensor, runs: Sequence[Run]) -> Sequence[Tensor]:
    """The rows of each run; the runs cover all rows in order.

    It splits x at once, since the gradient of each slice would be as large as x.
    """
    if len(runs) == 1:
        return [x]
    return x.split([run.stop - run.start for _, run in runs])


def part(x: Tensor, run: slice) -> Tensor:
    """A run of rows of x; x itself if it has all rows, to save a slice's gradient."""
    return x if run.stop - run.start == x.shape[0] else x[run]


def _joined(parts: list[Tensor]) -> Tensor:
    """The runs' results, concatenated."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
