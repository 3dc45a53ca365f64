"""The adaptable adapter as an AdapterHub configuration.

After ``import aa_ray``, AdapterHub can add, save and load it; see ``aa_ray.core.registration``.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Literal, cast

from adapters.configuration import adapter_config
from adapters.configuration.adapter_config import SeqBnConfig

from aa_ray.core import deviations, registration
from aa_ray.core.coefficients import RATIONALS, activation_name
from aa_ray.core.registration import ARCHITECTURE
from aa_ray.errors import UsageError, unknown
from aa_ray.trial import Trial


@dataclass(eq=False)
class AdaptableConfig(SeqBnConfig):
    """AdapterHub's sequential bottleneck with a rational, behind a switch (paper section 3).

    The defaults are the released code's. It also has all fields of AdapterHub's ``SeqBnConfig``,
    such as ``reduction_factor`` (16) and ``dropout`` (0). AdapterHub knows it by the name
    "adaptable":

        model.add_adapter("sst2", config=AdaptableConfig(temperature=0.5))
        model.add_adapter("sst2", config="adaptable[temperature=0.5]")

    Attributes:
        non_linearity: the activation, any rational ("rational:one" starts from f(x) = 1) or any
            name that AdapterHub knows.
        layers: the layers with an adapter, counted from 0, or "all".
        switched: whether each adapter is behind a learnable switch.
        temperature: tau of the switch's Gumbel-softmax, above 0.
        switch_skip: D1, "yes" keeps the skip connection of a switched adapter, "no" removes it.
        switch_identity: D2, the branch without adapter: "released" computes LN(LN(h+i) + h + i),
            "plain" the layer without adapter, LN(h+i).

    Args:
        denominator: D3, the rational's denominator, "A" or "B". Sets or removes ":b" in the name
            of the activation; None leaves the name as it is.
        gradient_at_zero: D4, "kernel" or "abs". Sets or removes ":abs" likewise.

    Raises:
        UsageError: a value that is not allowed.
    """

    non_linearity: str = activation_name("one")
    layers: list[int] | Literal["all"] = "all"
    switched: bool = True
    temperature: float = 0.1
    switch_skip: str = "yes"
    switch_identity: str = "released"
    denominator: InitVar[str | None] = None
    gradient_at_zero: InitVar[str | None] = None

    def __post_init__(self, denominator: str | None, gradient_at_zero: str | None) -> None:
        name = _with_deviations(self.non_linearity, denominator, gradient_at_zero)
        # AdapterHub's configurations refuse to be changed, and so does their __setattr__.
        object.__setattr__(self, "non_linearity", name)
        object.__setattr__(self, "layers", _checked_layers(self.layers))
        deviations.check("switch_skip", self.switch_skip)
        deviations.check("switch_identity", self.switch_identity)
        if not isinstance(self.temperature, (int, float)) or not self.temperature > 0:
            raise UsageError(f"temperature is {self.temperature!r}; expected a number above 0")
        if self.switched and (self.mh_adapter or self.cross_adapter or not self.output_adapter):
            raise UsageError(
                "a switched adapter sits after the feed-forward block only; leave mh_adapter, "
                "cross_adapter and output_adapter as they are, or set switched=False"
            )

    def has_adapter(self, layer: int) -> bool:
        """Whether this layer is among ``layers``."""
        return self.layers == "all" or layer in self.layers

    def to_dict(self) -> dict[str, Any]:
        """The form that AdapterHub saves; without aa_ray, loading it fails with a clear message."""
        return {"architecture": ARCHITECTURE, **super().to_dict()}

    @classmethod
    def from_dict(cls, config: Any) -> "AdaptableConfig":
        """The inverse of ``to_dict``."""
        values = {name: value for name, value in config.items() if name != "architecture"}
        return cast(AdaptableConfig, super().from_dict(values))

    def plain(self, **changes: Any) -> SeqBnConfig:
        """AdapterHub's own configuration with the same bottleneck, in every layer."""
        shared = {name: self[name] for name in SeqBnConfig.__dataclass_fields__}
        return SeqBnConfig(**(shared | changes))


def of_trial(trial: Trial) -> AdaptableConfig:
    """The configuration of the adapters of a study's trial."""
    return AdaptableConfig(
        non_linearity=non_linearity(trial),
        reduction_factor=trial.reduction_factor,
        layers=list(trial.layers),
        switched=trial.switched,
        temperature=trial.temperature,
        switch_skip=trial.switch_skip,
        switch_identity=trial.switch_identity,
    )


def non_linearity(trial: Trial) -> str:
    """AdapterHub's name of the trial's activation, including the settings of a rational.

    This also works for a custom activation, even if its file has not been loaded.
    """
    kind, _, init = trial.activation.partition(":")
    if kind != "rational":
        return trial.activation
    return activation_name(init, trial.denominator, trial.gradient_at_zero)


def _with_deviations(name: str, denominator: str | None, gradient_at_zero: str | None) -> str:
    """AdapterHub's name of the activation with these settings, checked; None keeps the name's."""
    from transformers.activations import ACT2FN

    name = str(name).lower()  # parsed as AdapterHub does
    if name not in (*ACT2FN, "leakyrelu"):
        raise unknown("activation", name, (*ACT2FN, "leakyrelu"))
    asked = {"denominator": denominator, "gradient_at_zero": gradient_at_zero}
    for field, value in asked.items():
        if value is None:
            continue
        deviations.check(field, value)
        if name not in RATIONALS:
            raise UsageError(f"{field} applies to rationals, but the activation is {name}; omit it")
    if name not in RATIONALS:
        return name
    init, version, gradient = RATIONALS[name]
    return activation_name(init, denominator or version, gradient_at_zero or gradient)


def _checked_layers(layers: Sequence[int] | str) -> list[int] | Literal["all"]:
    if layers == "all":
        return "all"
    if isinstance(layers, str) or not all(isinstance(i, int) and i >= 0 for i in layers):
        raise UsageError(f"layers is {layers!r}; expected 'all' or numbers counted from 0")
    return sorted(set(layers))


registration.add_config(adapter_config)  # if this module was imported before AdapterHub
