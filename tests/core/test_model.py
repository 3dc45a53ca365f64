"""aa_ray.core.model: the released code's parameter counts, a frozen backbone, a clean reset."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import pytest
import torch
from adapters import LoRAConfig, SeqBnConfig
from transformers import BertConfig, BertForSequenceClassification

from aa_ray.core import adaptable_config, backbones, heads, model
from aa_ray.core.backbones import Backbone
from aa_ray.errors import TrainingError
from aa_ray.training.cpu_layers import freeze, restore_linears
from aa_ray.trial import Trial
from tests.tiny_encoders import LAYERS as TINY_LAYERS

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
        [trial_model] = model.attach(bert, [trial], outputs=2)
        counts.append(sum(p.numel() for p in trial_model.parameters()))
        assert not any(p.requires_grad for n, p in bert.named_parameters() if "adapters." not in n)
    assert tuple(counts) == RELEASED[shape]


@pytest.mark.parametrize("layers", [(), (1,), (0, 2)])
def test_focused_models_have_adapters_only_where_asked(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial], layers: tuple[int, ...]
) -> None:
    [trial_model] = model.attach(
        bert, [make_trial(layers=layers, activation="rational:one")], outputs=2
    )
    assert tuple(trial_model.layers) == tuple(trial_model.rationals) == layers
    hub = [n for n, p in bert.base_model.named_parameters() if p.requires_grad]
    assert len(hub) == 6 * len(layers) and all(".adapters.trial0." in name for name in hub)
    assert len(dict(trial_model.named_parameters())) == len(hub) + 2


def test_attach_leaves_no_trace_of_the_trial_before(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    before = model.weights_hash(bert)
    trial = make_trial(activation="rational:one", switched=True)
    [trial_model] = model.attach(bert, [trial], outputs=3)
    first = trial_model.snapshot()
    with torch.no_grad():
        for p in trial_model.parameters():
            p.add_(1.0)
    model.attach(bert, [make_trial(layers=(1,)), make_trial()], outputs=1)
    _, trial_model = model.attach(bert, [make_trial(seed=7), trial], outputs=3)
    second = trial_model.snapshot()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert model.weights_hash(bert) == before


def test_groups_hold_every_trained_parameter_once_with_its_rate(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", switched=True, learning_rate=1e-4)
    [trial_model] = model.attach(bert, [trial], outputs=2)
    groups = trial_model.parameter_groups()
    rates: dict[int, float] = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert len(rates) == sum(len(g["params"]) for g in groups)
    for name, p in trial_model.named_parameters():
        if "logits" in name:
            expected = 0.05
        elif "numerator" in name or "denominator" in name:
            expected = 0.01
        else:
            expected = 1e-4
        assert rates[id(p)] == expected, name


def test_parameters_come_in_the_order_that_results_depend_on(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    """The gradient's norm sums over bottlenecks, switches, and then the classifier."""
    trial = make_trial(activation="rational:one", switched=True, layers=(0, 2))
    [trial_model] = model.attach(bert, [trial], outputs=2)
    bottleneck = [
        "non_linearity.f.numerator", "non_linearity.f.denominator", "adapter_down.0.weight",
        "adapter_down.0.bias", "adapter_up.weight", "adapter_up.bias",
    ]  # fmt: skip
    expected = [f"adapters.{layer}.{name}" for layer in (0, 2) for name in bottleneck]
    expected += [f"adapters.{layer}.switch.logits" for layer in (0, 2)]
    expected += ["classifier.weight", "classifier.bias"]
    assert [name for name, _ in trial_model.named_parameters()] == expected
    named = dict(trial_model.named_parameters())
    assert [id(p) for p in trial_model.parameters()] == [id(named[name]) for name in expected]


@pytest.mark.parametrize("settings", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_initial_weights_are_what_adapterhub_draws_from_the_seed(
    tiny: Backbone, make_trial: Callable[..., Trial], settings: dict[str, Any]
) -> None:
    """Rows stand for exact results, so nothing around a bottleneck may draw random numbers."""
    trial = make_trial(layers=(0, 2), **settings)
    [trial_model] = model.attach(model.load(tiny.path), [trial], outputs=2)
    stock = model.load(tiny.path)
    torch.manual_seed(trial.seed)
    config = SeqBnConfig(
        non_linearity=adaptable_config.of_trial(trial).non_linearity, leave_out=[1]
    )
    stock.add_adapter("stock", config=config)
    classifier = torch.nn.Linear(32, 2)
    torch.nn.init.normal_(classifier.weight, std=stock.config.initializer_range)
    [head] = heads.linears(trial_model.classifier)
    assert torch.equal(head.weight, classifier.weight)
    for layer in (0, 2):
        adapter = stock.bert.encoder.layer[layer].output.adapters["stock"]
        ours = dict(trial_model.adapter(layer).named_parameters())
        for name, value in adapter.named_parameters():
            assert torch.equal(ours[name], value)


def test_lora_that_finds_no_layer_is_an_error_and_finds_them_again(
    tiny: Backbone, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdapterHub's LoRA needs AdapterHub's linear layers, which faster ones may have replaced."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    bert = freeze(model.load(tiny.path))
    with pytest.raises(TrainingError, match="LoRAConfig adds no parameters"):
        model.add_adapter(bert, "lora", LoRAConfig())
    assert "lora" not in bert.adapters_config
    monkeypatch.setattr(adaptable_config.AdaptableConfig, "plain", lambda *_, **_2: LoRAConfig())
    with pytest.raises(TrainingError, match="LoRAConfig adds no parameters"):
        model.attach(bert, [make_trial()], outputs=2)
    model.add_adapter(bert, "nothing to add", LoRAConfig(), expected=False)
    bert.delete_adapter("nothing to add")
    restore_linears(bert)
    fast = freeze(model.load(tiny.path), fast_linears=False)
    for with_lora in (bert, fast):
        before = with_lora.num_parameters()
        model.add_adapter(with_lora, "lora", LoRAConfig())
        # Rank 8 at each layer's query and value, with two matrices of 8 x 32 each.
        assert with_lora.num_parameters() - before == TINY_LAYERS * 2 * 2 * 8 * 32


def test_nothing_is_silenced_when_modules_are_imported(tiny: Backbone) -> None:
    """Users of the package as a library keep the warnings of other libraries."""
    program = """
import logging, sys
from transformers.utils import logging as transformers_logging
before = transformers_logging.get_verbosity()
from aa_ray.core import model
from aa_ray.training import loop, worker
from aa_ray.core.logs import quiet_libraries
assert transformers_logging.get_verbosity() == before
assert logging.getLogger("adapters").isEnabledFor(logging.WARNING)
bert = model.load(sys.argv[1])
model.attach(bert, [], 2)
assert logging.getLogger("transformers.modeling_utils").isEnabledFor(logging.WARNING)
quiet_libraries()
assert not logging.getLogger("adapters.model_mixin").isEnabledFor(logging.WARNING)
assert not logging.getLogger("transformers.modeling_utils").isEnabledFor(logging.WARNING)
assert not logging.getLogger("huggingface_hub.utils").isEnabledFor(logging.WARNING)
"""
    command = [sys.executable, "-c", program, tiny.path]
    # Earlier commands in this process have set variables that libraries read.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_VERBOSITY")}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""  # expected messages are not shown


def test_restore_puts_a_snapshot_back(
    bert: BertForSequenceClassification, make_trial: Callable[..., Trial]
) -> None:
    [trial_model] = model.attach(bert, [make_trial(switched=True)], outputs=2)
    saved = trial_model.snapshot()
    for p in trial_model.parameters():
        torch.nn.init.zeros_(p)
    trial_model.restore(saved)
    assert all(torch.equal(p, saved[name]) for name, p in trial_model.named_parameters())


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
        drawn = beside.draw_gumbel(4, cpu)
        assert set(drawn) == {0, 2} and drawn[0].shape == (4, 2)
        assert all(torch.equal(drawn[layer], noise[layer]) for layer in noise)
    assert not torch.equal(expected[0][0], expected[1][0])


def test_the_packaged_minilm_matches_transformers_own_forward() -> None:
    path = backbones.find("minilm").path
    plain: Any = BertForSequenceClassification.from_pretrained(path).eval()
    bert = freeze(model.load(path)).eval()
    ids = torch.randint(1000, 9000, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, expected = bert.bert(ids).last_hidden_state, plain.bert(ids).last_hidden_state
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
