"""aa_ray.core.adaptable_config: AdapterHub's configuration with the paper's fields."""

from collections.abc import Callable
from typing import Any

import pytest
from adapters import AdapterConfig, ConfigUnion, LoRAConfig, SeqBnConfig

from aa_ray.core import adaptable_config
from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.core.registration import ARCHITECTURE
from aa_ray.errors import UsageError
from aa_ray.trial import Trial


def test_the_defaults_are_the_released_codes() -> None:
    config = AdaptableConfig()
    assert (config.non_linearity, config.reduction_factor) == ("rational:one", 16)
    assert (config.layers, config.switched, config.temperature) == ("all", True, 0.1)
    for name in ("switch_skip", "switch_identity"):
        assert config[name] == DEVIATIONS[name].released
    released: dict[str, Any] = {
        name: DEVIATIONS[name].released for name in ("denominator", "gradient_at_zero")
    }
    assert AdaptableConfig(**released) == config


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"denominator": "B"}, "rational:one:b"),
        ({"gradient_at_zero": "abs"}, "rational:one:abs"),
        ({"non_linearity": "rational:gelu:b"}, "rational:gelu:b"),
        ({"non_linearity": "rational:gelu:b:abs", "denominator": "A"}, "rational:gelu:abs"),
        ({"non_linearity": "GELU"}, "gelu"),
        ({"non_linearity": "leakyrelu"}, "leakyrelu"),
    ],
)
def test_the_rationals_deviations_are_in_the_activations_name(
    settings: dict[str, Any], name: str
) -> None:
    assert AdaptableConfig(**settings).non_linearity == name


def test_a_changed_copy_keeps_the_rest() -> None:
    config = AdaptableConfig(denominator="B", layers=[2, 0, 2], temperature=0.5)
    changed = config.replace(temperature=1.0)
    assert isinstance(changed, AdaptableConfig)
    assert (changed.non_linearity, changed.layers) == ("rational:one:b", [0, 2])
    assert changed.replace(denominator="A").non_linearity == "rational:one"
    assert changed.replace(non_linearity="relu").non_linearity == "relu"


@pytest.mark.parametrize(
    "config",
    [
        AdaptableConfig(),
        AdaptableConfig(switched=False, layers=[]),
        AdaptableConfig(non_linearity="relu", switch_skip="no", switch_identity="plain"),
        ConfigUnion(AdaptableConfig(denominator="B"), LoRAConfig(r=4)),
    ],
)
def test_it_comes_back_from_what_adapterhub_saves(config: Any) -> None:
    loaded = AdapterConfig.load(config.to_dict())
    assert type(loaded) is type(config) and loaded == config
    assert AdapterConfig.load(config) == config
    assert ARCHITECTURE in str(config.to_dict())


def test_it_has_a_name_in_adapterhubs_table() -> None:
    config = AdapterConfig.load("adaptable[temperature=0.5,switched=False]")
    assert config == AdaptableConfig(temperature=0.5, switched=False)


def test_plain_is_adapterhubs_own() -> None:
    plain = AdaptableConfig(non_linearity="gelu", dropout=0.1, layers=[1]).plain(leave_out=[0])
    assert type(plain) is SeqBnConfig
    assert plain == SeqBnConfig(non_linearity="gelu", dropout=0.1, leave_out=[0])


def test_of_a_trial(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(
        activation="rational:one", switched=True, denominator="B", gradient_at_zero="abs",
        switch_skip="no", switch_identity="plain", temperature=0.5, layers=(0, 2),
    )  # fmt: skip
    assert adaptable_config.of_trial(trial) == AdaptableConfig(
        non_linearity="rational:one:b:abs", layers=[0, 2], temperature=0.5, switch_skip="no",
        switch_identity="plain",
    )  # fmt: skip
    assert adaptable_config.of_trial(make_trial(denominator="B")) == AdaptableConfig(
        non_linearity="relu", switched=False, layers=[0, 1, 2]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"non_linearity": "rational:two"}, r"unknown activation 'rational:two' \(allowed: "),
        ({"denominator": "C"}, r"unknown value of denominator 'C' \(allowed: A, B\)"),
        ({"non_linearity": "relu", "denominator": "B"}, "the activation is relu; omit it"),
        ({"switch_skip": False}, r"unknown value of switch_skip 'False' \(allowed: yes, no\)"),
        ({"switch_identity": "zero"}, r"'zero' \(allowed: released, plain\)"),
        ({"temperature": 0}, "temperature is 0; expected a number above 0"),
        ({"layers": "last"}, "layers is 'last'; expected 'all' or numbers counted from 0"),
        ({"layers": [-1]}, "counted from 0"),
        ({"mh_adapter": True}, "after the feed-forward block only"),
    ],
)
def test_wrong_values_get_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AdaptableConfig(**settings)


def test_without_switches_it_may_sit_after_the_attention_too() -> None:
    assert AdaptableConfig(switched=False, mh_adapter=True).mh_adapter
