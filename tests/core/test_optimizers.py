"""aa_ray.core.optimizers: three learning rates with linear decay."""

from typing import Any

import pytest
from adapters import LoRAConfig, SeqBnConfig
from adapters.composition import BatchSplit

from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.core.optimizers import optimizers, parameter_groups
from aa_ray.errors import UsageError
from tests.tiny_encoders import ENCODERS, encoder


def names(model: Any, group: dict[str, Any]) -> set[str]:
    ids = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in ids}


@pytest.mark.parametrize("encoder_name", ENCODERS)
def test_every_trained_parameter_is_in_its_group(encoder_name: str) -> None:
    model = encoder(encoder_name, AdaptableConfig())
    others, rationals, switches = parameter_groups(model, "sst2")
    assert [others["lr"], rationals["lr"], switches["lr"]] == [1e-4, 0.01, 0.05]
    assert (len(names(model, switches)), len(names(model, rationals))) == (3, 6)
    assert all(name.endswith(".switch.logits") for name in names(model, switches))
    assert all("numerator" in name or "denominator" in name for name in names(model, rationals))
    assert {"heads.sst2.1.weight"} < names(model, others)
    together = names(model, others) | names(model, rationals) | names(model, switches)
    assert together == {name for name, p in model.named_parameters() if p.requires_grad}


def test_rates_of_ones_own_also_if_two_are_equal() -> None:
    model = encoder("bert", AdaptableConfig())
    groups = parameter_groups(
        model, "sst2", learning_rate=0.1, rational_learning_rate=0.2, switch_learning_rate=0.1
    )
    assert [group["lr"] for group in groups] == [0.1, 0.2, 0.1]
    optimizer, _ = optimizers(model, "sst2", switch_learning_rate=0.3)
    assert [g["lr"] for g in optimizer.param_groups] == [
        RELEASED_RATES.adapter, RELEASED_RATES.rational, 0.3,
    ]  # fmt: skip
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0}


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (AdaptableConfig(non_linearity="relu"), [1e-4, 0.05]),
        (AdaptableConfig(switched=False), [1e-4, 0.01]),
        (SeqBnConfig(), [1e-4]),
        (LoRAConfig(), [1e-4]),
    ],
)
def test_groups_that_would_be_empty_are_left_out(config: Any, rates: list[float]) -> None:
    optimizer, scheduler = optimizers(encoder("bert", config), "sst2")
    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert scheduler is None


def test_switches_of_adapters_that_are_trained_together() -> None:
    model = encoder("bert", AdaptableConfig())
    model.add_adapter("b", config=AdaptableConfig())
    model.train_adapter("sst2")
    assert len(parameter_groups(model, "sst2")[2]["params"]) == 3
    model.train_adapter(BatchSplit("sst2", "b", batch_sizes=[1, 1]))
    assert len(parameter_groups(model, "sst2")[2]["params"]) == 6


def test_the_rates_decay_linearly_to_0() -> None:
    optimizer, scheduler = optimizers(encoder("bert", AdaptableConfig()), "sst2", steps=4)
    assert scheduler is not None
    for share in (1, 0.75, 0.5, 0.25, 0, 0):
        expected = [share * rate for rate in (1e-4, 0.01, 0.05)]
        assert scheduler.get_last_lr() == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


def test_wrong_use_gets_one_line() -> None:
    model = encoder("bert", AdaptableConfig())
    with pytest.raises(UsageError, match=r"unknown adapter 'b' \(allowed: sst2\)"):
        optimizers(model, "b")
    with pytest.raises(UsageError, match="steps is 0; expected the number of training steps"):
        optimizers(model, "sst2", steps=0)
    model.add_adapter("b", config=AdaptableConfig())
    model.train_adapter("b")
    with pytest.raises(UsageError, match=r"'sst2' is not trained; call model.train_adapter first"):
        optimizers(model, "sst2")
