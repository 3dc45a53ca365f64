"""The adaptable adapter (paper section 3): AdapterHub's bottleneck behind a learnable switch.

In the terms of BERT's output sub-layer, h is the dense output after dropout, i its residual input
and LN the layer's own LayerNorm. AdapterHub calls a bottleneck with x = LN(h + i) and h, and
applies LN(. + i) to what it returns. The released code mixes two branches in that frame:

    adapter:   up(R(down(x))) + h
    identity:  x + h

So the released code keeps the skip connection inside the adapter, and its identity branch differs
from the plain layer LN(h + i). The paper (section 3.3) contradicts both: its adapter has no skip
connection, up(R(down(x))), and its identity passes h on unchanged. Both points are settings here,
D1 and D2 of ``aa_ray.core.deviations``.

``aa_ray.training.side_by_side`` computes the same faster and is tested against this module.
"""

from typing import Any, Literal, NamedTuple

import torch
from adapters import BnConfig
from adapters.methods.bottleneck import BottleneckLayer
from adapters.methods.modeling import Adapter
from torch import Tensor, nn

from aa_ray.errors import AdapterError, unknown

# Order of the two logits in the released code; on a tie argmax returns the first, the identity.
IDENTITY, ADAPTER = 0, 1

Identity = Literal["released", "plain"]


class SwitchSettings(NamedTuple):
    """The two branches of a switch and the temperature of its choice.

    Attributes:
        temperature: tau of the Gumbel-softmax; the smaller, the closer to a hard choice.
        skip: D1, whether the adapter branch has a skip connection.
        identity: D2, the identity branch: "released" is x + h, "plain" is h.
    """

    temperature: float = 0.1
    skip: bool = True
    identity: Identity = "released"


RELEASED = SwitchSettings()


class AdaptableAdapter(Adapter):
    """AdapterHub's sequential bottleneck, optionally behind a switch.

    Runs in AdapterHub's own forward pass. The activation is the configuration's ``non_linearity``,
    "rational:one" in the paper (see ``aa_ray.core.rational``). ``aa_ray.AdaptableConfig`` puts it
    into a model.

    Args:
        adapter_name, input_size, down_sample, config: as for AdapterHub's ``Adapter``.
        switch: the settings of its switch; None for a bottleneck without one.
        generator: draws the Gumbel noise; None uses torch's global generator. Gradient
            checkpointing needs the global one, since it restores only that one's state before it
            recomputes a layer.

    Attributes:
        switch: the ``Switch``, or None.

    Raises:
        UsageError: a switched adapter whose residuals and LayerNorms differ from ``SeqBnConfig``'s,
            or an unknown identity.
    """

    def __init__(
        self,
        adapter_name: str,
        input_size: int,
        down_sample: int,
        config: BnConfig,
        switch: SwitchSettings | None = RELEASED,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(adapter_name, input_size, down_sample, config)
        if switch is not None:
            _check(config, switch)
        self.switch = None if switch is None else Switch(switch, generator)

    def forward(
        self, x: Tensor, residual_input: Tensor, output_gating: bool = False
    ) -> tuple[Tensor, ...]:
        """The mixture of both branches, [batch, tokens, hidden]; AdapterHub then applies LN(. + i).

        Args:
            x: LN(h + i), [batch, tokens, hidden].
            residual_input: h, of the same shape.
            output_gating: AdapterHub's; its gate scores then come last.

        Returns:
            The mixture, and what AdapterHub's bottleneck returns besides: R(down(x))
            [batch, tokens, units] and up(R(down(x))).
        """
        h = residual_input
        if self.switch is None:
            return super().forward(x, h, output_gating)
        settings = self.switch.settings
        skip = h if settings.skip else torch.zeros_like(h)  # D1
        adapter, *details = super().forward(x, skip, output_gating)  # up(R(down(x))) + h
        identity = h if settings.identity == "plain" else x + h  # D2
        weights = self.switch(len(x)).to(x.dtype)[:, None, :, None]  # [batch, 1, 2, 1]
        mixture = weights[:, :, ADAPTER] * adapter + weights[:, :, IDENTITY] * identity
        return mixture, *details


class Switch(nn.Module):
    """The learnable choice between an adapter and the identity (paper section 3.2).

    Attributes:
        logits: [2], identity first, both 0.5 at the start. The paper has log(pi) with pi = 0.5,
            which gives the same weights.
        noise: [batch, 2] Gumbel noise to use instead of drawing it; None draws.
    """

    def __init__(
        self, settings: SwitchSettings = RELEASED, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, 0.5]))
        self.settings = settings
        self.generator = generator
        self.noise: Tensor | None = None

    def forward(self, batch: int) -> Tensor:
        """Weights of (identity, adapter) for each example, [batch, 2].

        Training uses soft weights with independent noise for each example. Evaluation picks the
        branch with the larger logit.
        """
        if not self.training:
            return hard_weights(self.logits).expand(batch, 2)
        noise = self.noise
        if noise is None:
            noise = sample_gumbel((batch, 2), self.generator, self.logits.device)
        logits = self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))
        return soft_weights(logits, noise.to(logits), self.settings.temperature)

    @property
    def selected(self) -> bool:
        """Whether the switch picks the adapter in evaluation."""
        return bool(picks_adapter(self.logits))


def soft_weights(logits: Tensor, gumbel: Tensor, temperature: float) -> Tensor:
    """Gumbel-softmax weights of (identity, adapter), paper equation 2.

    Args:
        logits: [..., 2], broadcast with ``gumbel``.
        gumbel: [..., batch, 2] independent Gumbel(0, 1) samples, one pair per example.
        temperature: tau; the smaller, the closer the weights are to a hard choice.

    Returns:
        [..., batch, 2] weights that sum to 1 per example; soft (no straight-through).
    """
    return torch.softmax((logits + gumbel) / temperature, dim=-1)


def hard_weights(logits: Tensor) -> Tensor:
    """Weights of (identity, adapter) in evaluation, 0 or 1; logits and weights are [..., 2]."""
    adapter = picks_adapter(logits).to(logits.dtype)
    return torch.stack([1 - adapter, adapter], dim=-1)  # identity first


def picks_adapter(logits: Tensor) -> Tensor:
    """Whether the adapter's logit strictly exceeds the identity's; [..., 2] -> bool [...]."""
    return logits[..., ADAPTER] > logits[..., IDENTITY]


def sample_gumbel(
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Gumbel(0, 1) samples of that shape, on the generator's device if there is one."""
    device = device if generator is None else generator.device
    return -torch.empty(shape, device=device).exponential_(generator=generator).log()


def make_adaptable(
    model: Any,
    name: str,
    switch: SwitchSettings | None = RELEASED,
    generator: torch.Generator | None = None,
) -> list[AdaptableAdapter]:
    """Replace each bottleneck of the adapter ``name`` by an ``AdaptableAdapter``.

    The weights that AdapterHub has drawn are kept, and no random numbers are drawn:

        model.add_adapter("aa", config=SeqBnConfig(non_linearity="rational:one"))
        make_adaptable(model, "aa")
        model.train_adapter("aa")

    Args:
        model: any AdapterHub model.
        switch, generator: as for ``AdaptableAdapter``.

    Returns:
        The new modules, from the lowest layer up; none if the adapter has no bottlenecks.

    Raises:
        UsageError: the model has no adapter of that name, or not one of ``SeqBnConfig``'s kind.
    """
    layers = bottleneck_layers(model, name)
    return [make_layer_adaptable(layer, name, switch, generator) for layer in layers]


def check_model(model: Any) -> None:
    """Raise AdapterError for a model without AdapterHub's hooks."""
    if not hasattr(model, "adapters_config"):
        raise AdapterError(
            f"{type(model).__name__} has no AdapterHub adapters; call adapters.init(model) first"
        )


def bottleneck_layers(model: Any, name: str) -> list[BottleneckLayer]:
    """AdapterHub's bottleneck layers that hold the adapter, from the lowest layer up.

    Raises:
        AdapterError: a model without AdapterHub's hooks.
        UsageError: the model has no adapter of that name.
    """
    check_model(model)
    if name not in model.adapters_config:
        raise unknown("adapter", name, model.adapters_config)
    modules = [module for module in model.modules() if isinstance(module, BottleneckLayer)]
    return sorted(
        (module for module in modules if name in module.adapters),
        key=lambda module: module.layer_idx,
    )


def make_layer_adaptable(
    layer: BottleneckLayer,
    name: str,
    switch: SwitchSettings | None = RELEASED,
    generator: torch.Generator | None = None,
) -> AdaptableAdapter:
    """Do the work of ``make_adaptable`` for the bottleneck of that name in one layer."""
    plain = layer.adapters[name]
    config = layer.adapters_config.match(name, BnConfig, layer.layer_idx, layer.location_key)
    with torch.random.fork_rng(devices=[]):  # its initial weights are overwritten below
        adaptable = AdaptableAdapter(
            name, plain.input_size, plain.down_sample, config, switch, generator
        )
    adaptable.load_state_dict(adaptable.state_dict() | plain.state_dict())  # all but the switch
    adaptable.original_ln_after = plain.original_ln_after  # AdapterHub changes it in some models
    adaptable.to(next(plain.parameters()).device).train(plain.training)
    layer.adapters[name] = adaptable
    return adaptable


def _check(config: BnConfig, switch: SwitchSettings) -> None:
    """Refuse an unknown identity, and a bottleneck that the equations above do not describe."""
    if switch.identity not in ("released", "plain"):
        raise unknown("identity branch", switch.identity, ("released", "plain"))
    sequential = not config["is_parallel"] and config["original_ln_before"]
    if not (sequential and config["residual_before_ln"] is True):
        raise AdapterError(
            "a switched adapter needs AdapterHub's sequential bottleneck after the layer's own "
            "LayerNorm; use SeqBnConfig"
        )
