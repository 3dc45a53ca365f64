"""aa_ray.core.placement: adaptable adapters in any model, beside other methods and composed."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from adapters import ConfigUnion, LoRAConfig, ParBnConfig, PrefixTuningConfig, SeqBnConfig
from adapters.composition import Average, BatchSplit, Fuse, Parallel, Split, Stack
from adapters.methods.modeling import Adapter

from aa_ray.core import adaptable_config, model
from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.adapter import AdaptableAdapter, bottleneck_layers, sample_gumbel
from aa_ray.core.backbones import Backbone
from aa_ray.core.deviations import DEVIATIONS
from aa_ray.core.focus import selected_layers
from aa_ray.errors import AdapterError
from aa_ray.trial import Trial
from tests.tiny_encoders import ENCODERS, batch, encoder, logits, perturb, select


def cases() -> Iterator[Any]:
    """Yield each kind of method with each combination of its deviations."""
    kinds: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "aa": ({"switched": True, "activation": "rational:one"},
               ("switch_skip", "switch_identity", "denominator", "gradient_at_zero")),
        "switch-only": ({"switched": True}, ("switch_skip", "switch_identity")),
        "rational-only": ({"activation": "rational:one", "layers": (0, 2)},
                          ("denominator", "gradient_at_zero")),
        "baseline": ({"activation": "gelu"}, ()),
    }  # fmt: skip
    for name, (settings, fields) in kinds.items():
        for choices in itertools.product(*(DEVIATIONS[field].choices for field in fields)):
            deviating = dict(zip(fields, choices, strict=True))
            yield pytest.param(settings | deviating, id=" ".join([name, *choices]))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("settings", list(cases()))
def test_it_computes_what_the_studys_own_model_does(
    settings: dict[str, Any], training: bool, tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    """Logits and the gradient of every trained parameter agree."""
    trial = make_trial(**settings)
    theirs, studys = model.load(tiny.path), model.load(tiny.path)
    [trial_model] = model.attach(studys, [trial], outputs=2)
    studys.set_active_adapters(trial_model.name)
    studys.classifier = trial_model.classifier
    perturb(trial_model)
    for rational in trial_model.rationals.values():
        rational.denominator.data[2:] = 0  # where D4 acts
    theirs.add_adapter("aa", config=adaptable_config.of_trial(trial))
    theirs.train_adapter("aa")
    theirs.classifier.load_state_dict(trial_model.classifier.state_dict())
    inputs = batch()
    pairs: list[tuple[Any, Any]] = []
    for layer in bottleneck_layers(theirs, "aa"):
        module: Any = layer.adapters["aa"]
        expected: Any = trial_model.adapter(layer.layer_idx)
        module.load_state_dict(expected.state_dict())
        pairs.append((module, expected))
        if trial.switched:
            module.switch.noise = expected.switch.noise = sample_gumbel((8, 2))
    assert len(pairs) == len(trial.layers)
    pairs.append((theirs.classifier, trial_model.classifier))
    results = []
    for bert in (theirs, studys):
        bert.train(training)
        torch.manual_seed(0)  # the backbone's dropout
        output = bert(**inputs)
        output.loss.backward()
        results.append(output.logits)
    torch.testing.assert_close(*results, rtol=0, atol=0)
    for module, expected in pairs:
        for ours, its in zip(module.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, its.grad, rtol=0, atol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_way_into_a_model(name: str) -> None:
    """Covers a configuration and its name, each passed to AdapterHub's ``add_adapter``."""
    states = []
    for config in (AdaptableConfig(), "adaptable", AdaptableConfig(layers=[0, 1, 2])):
        layers = bottleneck_layers(encoder(name, config), "sst2")
        assert [layer.layer_idx for layer in layers] == [0, 1, 2]
        assert all(type(layer.adapters["sst2"]) is AdaptableAdapter for layer in layers)
        states.append([layer.adapters["sst2"].adapter_up.weight for layer in layers])
    for ours in states[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ours, states[0], strict=True))
    plain = encoder(name, SeqBnConfig(reduction_factor=16, non_linearity="rational:one"))
    weights = [of.adapters["sst2"].adapter_up.weight for of in bottleneck_layers(plain, "sst2")]
    # The switches draw no random numbers.
    assert all(torch.equal(a, b) for a, b in zip(weights, states[0], strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_layers_and_leave_out(name: str) -> None:
    config = AdaptableConfig(layers=[0, 2], leave_out=[0])
    layers = bottleneck_layers(encoder(name, config), "sst2")
    assert [layer.layer_idx for layer in layers] == [2]


def test_without_switches_the_modules_are_adapterhubs() -> None:
    layers = bottleneck_layers(encoder("bert", AdaptableConfig(switched=False)), "sst2")
    assert [type(layer.adapters["sst2"]) for layer in layers] == [Adapter] * 3


@pytest.mark.parametrize("name", ENCODERS)
def test_it_learns_beside_lora(name: str) -> None:
    """The two may be parts of one adapter, or two adapters of one model, either of them active."""
    both = encoder(name, ConfigUnion(AdaptableConfig(), LoRAConfig(r=2, alpha=2)))
    both(**batch()).loss.backward()
    trained = {key for key, p in both.named_parameters() if p.requires_grad and p.grad is not None}
    assert any(".loras.sst2." in key for key in trained)
    assert sum(key.endswith("switch.logits") for key in trained) == 3

    model = encoder(name, AdaptableConfig())
    perturb(model)
    before = logits(model)
    model.add_adapter("lora", config=LoRAConfig(r=2, alpha=2, init_weights="bert"))
    model.add_adapter("parallel", config=ParBnConfig())
    model.add_adapter("prefix", config=PrefixTuningConfig())
    assert torch.equal(logits(model), before)
    model.train_adapter("lora")
    model.active_head = "sst2"
    model(**batch()).loss.backward()
    grads = [key for key, p in model.named_parameters() if p.grad is not None]
    assert any(".loras." in key for key in grads) and not any("switch" in key for key in grads)
    model.set_active_adapters(Stack("lora", "sst2"))
    model.active_head = "sst2"
    assert not torch.equal(logits(model), before)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_switched_adapter_on_top_of_a_plain_one(name: str) -> None:
    """Stack passes the plain adapter's output on as h.

    With plain identities only that output remains.
    """
    model = encoder(name, AdaptableConfig(switch_identity="plain"))
    model.add_adapter("language", config=SeqBnConfig(leave_out=[0]))
    model.train_adapter("language")
    perturb(model)
    select(model, [])
    model.active_head = "sst2"
    alone = logits(model)
    model.set_active_adapters(Stack("language", "sst2"))
    torch.testing.assert_close(logits(model), alone)
    select(model, [0, 1, 2])
    assert not torch.allclose(logits(model), alone)


def two(config: Any, other: Any) -> Any:
    model = encoder("bert", config)
    model.add_adapter("b", config=other)
    model.add_classification_head("b", num_labels=2)
    return model


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (Stack("sst2", "b"), r"one adapter with switches \(here sst2 and b\); call aa_ray.focus"),
        (Parallel(Stack("sst2", "b"), "b"), "a Stack may hold one adapter with switches"),
        (Fuse("sst2", "b"), r"before their switches \(here sst2 and b\); call aa_ray.focus"),
    ],
)
def test_compositions_without_a_meaning_are_refused(setup: Any, message: str) -> None:
    model = two(AdaptableConfig(), AdaptableConfig())
    if isinstance(setup, Fuse):
        model.add_adapter_fusion(["sst2", "b"])
    model.set_active_adapters(setup)
    model.active_head = "sst2"
    with pytest.raises(AdapterError, match=message):
        model(**batch())


@pytest.mark.parametrize(
    "setup",
    [
        BatchSplit("sst2", "b", batch_sizes=[4, 4]),
        Split("sst2", "b", splits=[3, 4]),
        Average("sst2", "b"),
        Stack("plain", Average("sst2", "b")),
        Stack("sst2", "plain"),
    ],
    ids=str,
)
def test_other_compositions_run(setup: Any) -> None:
    model = two(AdaptableConfig(), AdaptableConfig())
    model.add_adapter("plain", config=SeqBnConfig())
    model.set_active_adapters(setup)
    model.active_head = "sst2"
    model.train()
    assert model(batch()["input_ids"]).logits.shape == (8, 2)


def test_a_batch_split_gives_each_part_its_own_adapter() -> None:
    model = two(AdaptableConfig(), AdaptableConfig())
    model.train_adapter(Stack("b"))
    perturb(model)
    select(model, [0, 2], "b")
    select(model, [1])
    expected = []
    for name in ("sst2", "b"):
        model.set_active_adapters(name)
        model.active_head = "sst2"
        expected.append(logits(model))
    model.set_active_adapters(BatchSplit("sst2", "b", batch_sizes=[5, 3]))
    model.active_head = "sst2"
    torch.testing.assert_close(logits(model), torch.cat([expected[0][:5], expected[1][5:]]))


@pytest.mark.parametrize("make", [SeqBnConfig, AdaptableConfig])
def test_what_docs_say_of_adapterhubs_compositions_in_different_layers(make: Any) -> None:
    """If a newer AdapterHub runs these compositions, docs/adapters.md must say so."""
    first, second = make(leave_out=[0]), make(leave_out=[2])
    setups = [BatchSplit("sst2", "b", batch_sizes=[4, 4]), Parallel("sst2", "b"),
              Split("sst2", "b", splits=[3, 4]), Average("sst2", "b")]  # fmt: skip
    setups += [BatchSplit("b", "sst2", batch_sizes=[4, 4])]
    setups += [Fuse("sst2", "b")] * (make is SeqBnConfig)  # refused with switches
    for setup in setups:
        model = two(first, second)
        if isinstance(setup, Fuse):
            model.add_adapter_fusion(["sst2", "b"])
        model.set_active_adapters(setup)
        model.active_head = ["sst2", "b"] if isinstance(setup, Parallel) else "sst2"
        with pytest.raises((KeyError, TypeError)):
            model(batch()["input_ids"])


def test_switches_on_shared_layers_are_refused_and_nothing_stays() -> None:
    model = encoder("albert")
    with pytest.raises(AdapterError, match="albert computes 3 layers with the weights of 1, but"):
        model.add_adapter("sst2", config=AdaptableConfig())
    assert "sst2" not in model.adapters_config
    model.add_adapter("sst2", config=AdaptableConfig(switched=False))
    assert selected_layers(model, "sst2") == [0]


def test_an_average_of_adapters_has_their_average_switches() -> None:
    model = two(AdaptableConfig(), AdaptableConfig())
    select(model, [0, 1])
    select(model, [0], "b")
    model.average_adapter("mean", ["sst2", "b"])
    logits = [layer.adapters["mean"].switch.logits for layer in bottleneck_layers(model, "mean")]
    assert [pair.tolist() for pair in logits] == [[0.5, 1.0], [0.5, 0.5], [0.5, 0.0]]
