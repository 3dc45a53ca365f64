"""aa_ray.model: parameter counts of the released code, a frozen backbone, and a clean reset."""

from collections.abc import Callable
from typing import Any

import adapters
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from aa_ray import backbones, model
from aa_ray.backbones import Backbone
from aa_ray.trial import Trial

IDS = torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0))
ARCHITECTURES = {
    "baseline": {"activation": "relu", "switched": False},
    "aa": {"activation": "rational:one", "switched": True},
    "switch-only": {"activation": "relu", "switched": True},
    "rational-only": {"activation": "rational:one", "switched": False},
}
# Trainable parameters with a two-class head, measured on the released code.
RELEASED = {
    (24, 1024): (3_173_890, 3_174_178, 3_173_938, 3_174_130),
    (12, 768): (896_066, 896_210, 896_090, 896_186),
    (6, 384): (113_810, 113_882, 113_822, 113_870),
}


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return model.load(tiny.path)


@pytest.mark.parametrize("shape", RELEASED)
def test_trainable_parameters_are_those_of_the_released_code(
    shape: tuple[int, int], make_trial: Callable[..., Trial]
) -> None:
    layers, hidden = shape
    config = BertConfig(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=8,
        intermediate_size=8, vocab_size=8,
    )  # fmt: skip
    bert = BertForSequenceClassification(config)
    adapters.init(bert)
    counts = []
    for settings in ARCHITECTURES.values():
        model.attach(bert, make_trial(layers=tuple(range(layers)), **settings), outputs=2)
        counts.append(sum(p.numel() for p in model.trained_parameters(bert).values()))
    assert tuple(counts) == RELEASED[shape]


@pytest.mark.parametrize("layers", [(), (1,), (0, 2)])
def test_focused_models_have_adapters_only_where_asked(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial], layers: tuple[int, ...]
) -> None:
    model.attach(bert, make_trial(layers=layers, activation="rational:one"), outputs=2)
    assert tuple(model.bottlenecks(bert)) == tuple(model.rationals(bert)) == layers
    names = list(model.trained_parameters(bert))
    assert {"classifier.weight", "classifier.bias"} <= set(names)
    assert all("classifier" in n or ".adapters." in n for n in names)


def test_no_layer_is_the_plain_backbone(
    bert: BertForSequenceClassification, tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    plain = BertForSequenceClassification.from_pretrained(tiny.path).eval()
    model.attach(bert.eval(), make_trial(layers=()), outputs=2)
    plain.classifier = bert.classifier
    with torch.inference_mode():
        torch.testing.assert_close(bert(IDS).logits, plain(IDS).logits)


def test_keeping_no_layer_skips_every_adapter(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    def logits(layers: tuple[int, ...], depth: int) -> torch.Tensor:
        model.attach(bert, make_trial(layers=layers), outputs=2)
        for bottleneck in model.bottlenecks(bert).values():
            for p in bottleneck.parameters():
                torch.nn.init.constant_(p, 0.3)
        torch.nn.init.constant_(bert.classifier.weight, 0.1)
        model.keep_last(bert.eval(), depth)
        with torch.inference_mode():
            return bert(IDS).logits

    for depth in range(4):
        kept = tuple(range(3 - depth, 3))
        torch.testing.assert_close(logits((0, 1, 2), depth), logits(kept, 3))


def test_attach_leaves_no_trace_of_the_trial_before(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    before = model.weights_hash(bert)
    trial = make_trial(activation="rational:one", switched=True)
    model.attach(bert, trial, outputs=3)
    first = model.snapshot(bert)
    with torch.no_grad():
        for p in model.trained_parameters(bert).values():
            p.add_(1.0)
    model.attach(bert, make_trial(layers=(1,)), outputs=1)
    model.attach(bert, trial, outputs=3)
    second = model.snapshot(bert)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert model.weights_hash(bert) == before


def test_groups_hold_every_trained_parameter_once_with_its_rate(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", switched=True, learning_rate=1e-4)
    model.attach(bert, trial, outputs=2)
    groups = model.parameter_groups(bert, trial)
    rates: dict[int, float] = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert len(rates) == sum(len(g["params"]) for g in groups)
    for name, p in model.trained_parameters(bert).items():
        if "logits" in name:
            expected = 0.05
        elif "numerator" in name or "denominator" in name:
            expected = 0.01
        else:
            expected = 1e-4
        assert rates[id(p)] == expected, name


def test_restore_puts_a_snapshot_back(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    model.attach(bert, make_trial(switched=True), outputs=2)
    saved = model.snapshot(bert)
    for p in model.trained_parameters(bert).values():
        torch.nn.init.zeros_(p)
    model.restore(bert, saved)
    assert all(torch.equal(p, saved[n]) for n, p in model.trained_parameters(bert).items())


def test_the_packaged_minilm_matches_transformers_own_forward() -> None:
    path = backbones.find("minilm").path
    plain: Any = BertForSequenceClassification.from_pretrained(path).eval()
    bert = model.load(path).eval()
    ids = torch.randint(1000, 9000, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, expected = bert.bert(ids).last_hidden_state, plain.bert(ids).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
