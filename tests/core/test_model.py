"""aa_ray.core.model: the released code's parameter counts, a frozen backbone, a clean reset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from aa_ray.core import backbones, model
from aa_ray.core.backbones import Backbone
from aa_ray.errors import TrainingError
from aa_ray.training.cpu_layers import freeze
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


def test_a_checkpoint_without_all_its_layers_is_not_filled_with_random_ones(
    tiny: Backbone, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny.path, tmp_path / "deeper")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(TrainingError, match="the checkpoint lacks 32 weights"):
        model.load(str(copy))


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path))


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
        trial = make_trial(layers=tuple(range(layers)), **settings)
        [member] = model.attach(bert, [trial], outputs=2)
        counts.append(sum(p.numel() for p in member.parameters()))
        assert not any(p.requires_grad for n, p in bert.named_parameters() if "adapters." not in n)
    assert tuple(counts) == RELEASED[shape]


@pytest.mark.parametrize("layers", [(), (1,), (0, 2)])
def test_focused_models_have_adapters_only_where_asked(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial], layers: tuple[int, ...]
) -> None:
    [member] = model.attach(bert, [make_trial(layers=layers, activation="rational:one")], outputs=2)
    assert tuple(member.layers) == tuple(member.rationals) == layers
    hub = [n for n, p in bert.base_model.named_parameters() if p.requires_grad]
    assert len(hub) == 6 * len(layers) and all(".adapters.trial0." in name for name in hub)
    assert len(dict(member.named_parameters())) == len(hub) + 2


def test_attach_leaves_no_trace_of_the_trial_before(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    before = model.weights_hash(bert)
    trial = make_trial(activation="rational:one", switched=True)
    [member] = model.attach(bert, [trial], outputs=3)
    first = member.snapshot()
    with torch.no_grad():
        for p in member.parameters():
            p.add_(1.0)
    model.attach(bert, [make_trial(layers=(1,)), make_trial()], outputs=1)
    _, member = model.attach(bert, [make_trial(seed=7), trial], outputs=3)
    second = member.snapshot()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert model.weights_hash(bert) == before


def test_groups_hold_every_trained_parameter_once_with_its_rate(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", switched=True, learning_rate=1e-4)
    [member] = model.attach(bert, [trial], outputs=2)
    groups = member.parameter_groups()
    rates: dict[int, float] = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert len(rates) == sum(len(g["params"]) for g in groups)
    for name, p in member.named_parameters():
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
    [member] = model.attach(bert, [make_trial(switched=True)], outputs=2)
    saved = member.snapshot()
    for p in member.parameters():
        torch.nn.init.zeros_(p)
    member.restore(saved)
    assert all(torch.equal(p, saved[name]) for name, p in member.named_parameters())


def test_noise_depends_on_the_seed_alone(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(switched=True, layers=(0, 2))
    cpu = torch.device("cpu")
    [alone] = model.attach(bert, [trial], outputs=2)
    expected = [alone.draw_gumbel(4, cpu) for _ in range(2)]
    _, beside = model.attach(bert, [make_trial(switched=True, seed=7), trial], outputs=2)
    for noise in expected:
        torch.rand(3)
        found = beside.draw_gumbel(4, cpu)
        assert set(found) == {0, 2} and found[0].shape == (4, 2)
        assert all(torch.equal(found[layer], noise[layer]) for layer in noise)
    assert not torch.equal(expected[0][0], expected[1][0])


def test_the_packaged_minilm_matches_transformers_own_forward() -> None:
    path = backbones.find("minilm").path
    plain: Any = BertForSequenceClassification.from_pretrained(path).eval()
    bert = freeze(model.load(path)).eval()
    ids = torch.randint(1000, 9000, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, expected = bert.bert(ids).last_hidden_state, plain.bert(ids).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
