"""Rows with adapters whose parameters are already stacked; see ``stacked_parameters``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from aa_ray.core.adapter import ADAPTER, IDENTITY, SwitchSettings, soft_weights
from aa_ray.training.context import TrialContext
from aa_ray.training.rows import gather
from aa_ray.training.stacked_adapters import AdaptedRows
from aa_ray.training.stacked_parameters import SWITCHES, Leaf, StackedParameters
from aa_ray.training.unpadded import Packed


class HeldSwitches:
    """The switches of all trials and layers, whose weights are drawn together.

    Weights are also computed, but not used, for trials without a switch between others, and for
    layers in which a trial has none.

    Args:
        leaf: the logits [trials, layers, 2].
        layers: layers in which any trial has a switch, ascending.
        places: for each trial the indices of its layers in ``layers``; None without switches.
        temperature: the temperature of all switches.
    """

    def __init__(
        self, leaf: Leaf, layers: list[int], places: list[list[int] | None], temperature: float
    ) -> None:
        self.leaf = leaf
        self._layers = {layer: place for place, layer in enumerate(layers)}
        self._places = places
        self._temperature = temperature
        self._drawn: Sequence[Tensor] = ()  # [trials, T, 1], two for each layer

    @classmethod
    def of(cls, parameters: StackedParameters) -> "HeldSwitches | None":
        """The switches of these trials; None if no trial has one."""
        blocks = [block for block in parameters.blocks.values() if block.rate == SWITCHES]
        if not blocks:
            return None
        layers = [block.layer for block in blocks if block.layer is not None]
        switched = [m for m in parameters.trial_models if m.trial.switched and m.layers]
        places = [
            [layers.index(layer) for layer in m.layers] if m in switched else None
            for m in parameters.trial_models
        ]
        temperature = switched[0].switch(switched[0].layers[0]).settings.temperature
        return cls(parameters.switches(), layers, places, temperature)

    def arranged(self, noise: Sequence[Sequence[Tensor | None]], size: int) -> Tensor:
        """The noise of several steps, [steps, trials, B, layers, 2], on the CPU.

        Args:
            noise: the noise of each step and trial, [its layers, B, 2].
            size: B.
        """
        trials, layers = self.leaf.values.shape[:2]
        arranged = torch.zeros(len(noise), trials, layers, size, 2)
        for step, of_step in enumerate(noise):
            for row, (of_trial, places) in enumerate(zip(of_step, self._places, strict=True)):
                if of_trial is not None and places is not None:
                    target = arranged[step, row - self.leaf.first]
                    if len(places) == layers:
                        target.copy_(of_trial)
                    else:
                        target[places] = of_trial
        return arranged.transpose(2, 3).contiguous()

    def draw(self, noise: Tensor, batch: Packed, dtype: torch.dtype) -> None:
        """Compute all weights of a step from noise [trials, B, layers, 2]."""
        weights = soft_weights(self.leaf.values[:, None], noise, self._temperature)
        first = self.leaf.first
        of_tokens = _ToTokens.apply(weights.flatten(2), batch, slice(first, first + len(weights)))
        self._drawn = of_tokens.to(dtype)[:, :, None].unbind(-1)

    def weights(self, layer: int, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Weights of (identity, adapter) in a layer, [rows, T, 1] each, for rows of all trials."""
        place = 2 * self._layers[layer]
        own = [row - self.leaf.first for row in rows]
        return gather(self._drawn[place + IDENTITY], own), gather(self._drawn[place + ADAPTER], own)


class _ToTokens(torch.autograd.Function):
    """Copy each example's values to its tokens: [trials, B, C] -> [trials, T, C]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: Packed, trials: slice) -> Tensor:
        ctx.batch, ctx.trials = batch, trials
        index = batch.example_of_token[trials].clamp(min=0)[..., None]  # [trials, T, 1]
        return x.gather(1, index.expand(-1, -1, x.shape[-1]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A matrix product, since a sum by index would have no fixed order on a GPU.
        membership = ctx.batch.membership[ctx.trials]  # [trials, T, B]
        return torch.matmul(membership.transpose(1, 2), grads[0]), None, None


@dataclass(frozen=True)
class HeldRows(AdaptedRows):
    """The adapted rows of a training step.

    Attributes:
        held: trained parameters of the layer's adapters: "down" and "up" (weights and biases) and
            "coefficients" (numerators and denominators).
        others: parameters of custom activations, apart from rationals.
        all_switches: None if no trial has a switch.
    """

    held: dict[str, tuple[Leaf, Leaf]] = field(default_factory=dict)
    others: list[Leaf] = field(default_factory=list)
    all_switches: HeldSwitches | None = None

    @classmethod
    def made(
        cls,
        parameters: StackedParameters,
        switches: HeldSwitches | None,
        layer: int,
        indices: Sequence[int],
    ) -> "HeldRows":
        """The rows of these trials, which have an adapter in the layer."""
        models = [parameters.trial_models[row] for row in indices]
        held: dict[str, tuple[Any, Any]] = {}
        others = []
        for of_trial in models:
            adapter = of_trial.adapter(layer)
            rational = of_trial.rationals.get(layer)
            held["down"] = adapter.adapter_down[0].weight, adapter.adapter_down[0].bias
            held["up"] = adapter.adapter_up.weight, adapter.adapter_up.bias
            if rational is not None:
                held["coefficients"] = rational.numerator, rational.denominator
            else:
                others += list(adapter.non_linearity.parameters())
        leaves = {
            kind: (parameters.leaf(parameters.name(a)), parameters.leaf(parameters.name(b)))
            for kind, (a, b) in held.items()
        }
        own = [Leaf(0, p, parameters.gradient_of(p)) for p in others]
        contexts = [TrialContext(of_trial, noise={}) for of_trial in models]
        return cls(layer, list(indices), contexts, held=leaves, others=own, all_switches=switches)

    @cached_property
    def leaves(self) -> list[Leaf]:
        """All parameters of the adapters, except the switches."""
        return [leaf for pair in self.held.values() for leaf in pair] + self.others

    def _of(self, kind: str, run: slice = slice(None)) -> tuple[Tensor, Tensor]:
        first, second = self.held[kind]
        indices = self.indices[run]
        if len(indices) == first.values.shape[0]:
            return first.values, second.values
        rows = [row - first.first for row in indices]
        return gather(first.values, rows), gather(second.values, rows)

    def down(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self._of("down")

    def up(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self._of("up")

    def coefficients(self, run: slice) -> tuple[Tensor, Tensor]:
        return self._of("coefficients", run)

    def weights(self, run: slice, switch: SwitchSettings) -> tuple[Tensor, Tensor]:
        assert self.all_switches is not None
        return self.all_switches.weights(self.layer, self.indices[run])
