"""aa_ray.core.focus: add an adapter, read its selection, and keep the selected layers."""

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import BnConfig, ConfigUnion, LoRAConfig, SeqBnConfig
from adapters.methods.modeling import Adapter
from torch import nn
from transformers import BertForSequenceClassification

import aa_ray
from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.adapter import bottleneck_layers
from aa_ray.core.focus import add_adapter, focus, selected_layers
from aa_ray.errors import AdapterError, UsageError
from tests import fresh_process, tiny_encoders
from tests.tiny_encoders import ENCODERS, HIDDEN, encoder, logits, perturb, select


def trained(name: str = "bert", selected: list[int] | None = None, **settings: Any) -> Any:
    """Return an encoder whose adapter looks trained."""
    model = encoder(name, AdaptableConfig(**settings))
    perturb(model)
    if selected is not None:
        select(model, selected)
    return model


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("selected", [[0, 2], [], [0, 1, 2]])
@pytest.mark.parametrize("identity", ["released", "plain"])
def test_an_exact_focus_keeps_the_predictions(
    name: str, selected: list[int], identity: str
) -> None:
    model = trained(name, selected, switch_identity=identity)
    before = logits(model)
    assert focus(model, "sst2", exact=True) == selected
    torch.testing.assert_close(logits(model), before)
    layers = [layer.layer_idx for layer in bottleneck_layers(model, "sst2")]
    assert layers == (selected if identity == "plain" else [0, 1, 2])


@pytest.mark.parametrize("name", ENCODERS)
def test_focus_keeps_the_selected_layers_alone(name: str) -> None:
    model = trained(name, [1])
    before = logits(model)
    with pytest.warns(UserWarning, match=r"^layers 0, 2 of 'sst2' lose LN\(LN.*exact=True"):
        assert focus(model, "sst2") == [1]
    [layer] = bottleneck_layers(model, "sst2")
    assert (layer.layer_idx, type(layer.adapters["sst2"])) == (1, Adapter)
    assert not torch.allclose(logits(model), before)
    config = model.adapters_config.get("sst2")
    assert config == SeqBnConfig(non_linearity="rational:one", leave_out=[0, 2])
    assert selected_layers(model, "sst2") == [1]


def test_with_the_plain_identity_focus_is_exact_and_warns_of_nothing() -> None:
    model = trained("bert", [1, 2], switch_identity="plain")
    before = logits(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert focus(model, "sst2") == [1, 2]
    torch.testing.assert_close(logits(model), before)


def test_an_adapter_without_switches_becomes_adapterhubs_own() -> None:
    model = trained("bert", switched=False, layers=[0, 2], non_linearity="relu")
    before = logits(model)
    assert focus(model, "sst2") == [0, 2]
    assert model.adapters_config.get("sst2") == SeqBnConfig(leave_out=[1])
    assert torch.equal(logits(model), before)


def test_an_identity_costs_two_matrices_and_is_not_trained() -> None:
    model = trained("bert", [0])
    focus(model, "sst2", exact=True)
    parameters = list(bottleneck_layers(model, "sst2")[1].adapters["sst2"].parameters())
    assert sum(p.numel() for p in parameters) == 2 * HIDDEN * (HIDDEN + 1)
    assert not any(p.requires_grad for p in parameters)


@pytest.mark.parametrize(
    "settings", [{}, {"scaling": "learned"}, {"ln_after": True}, {"dropout": 0.5}]
)
def test_what_remains_are_the_same_parameters(settings: dict[str, Any]) -> None:
    """An existing optimiser can continue with these parameters; nothing is drawn at random."""
    model = trained("bert", [1], **settings)
    module = bottleneck_layers(model, "sst2")[1].adapters["sst2"]
    before = {key: p for key, p in module.named_parameters() if key != "switch.logits"}
    before["adapter_up.weight"].requires_grad_(False)
    state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="predictions change"):
        focus(model, "sst2")
    assert torch.equal(torch.get_rng_state(), state)
    after = dict(bottleneck_layers(model, "sst2")[0].adapters["sst2"].named_parameters())
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in after)
    assert not after["adapter_up.weight"].requires_grad
    assert after["adapter_down.0.weight"].requires_grad


def test_lora_of_the_same_adapter_stays() -> None:
    model = encoder("bert", ConfigUnion(AdaptableConfig(), LoRAConfig(r=2, alpha=2)))
    perturb(model)
    select(model, [2])
    before = logits(model)
    focus(model, "sst2", exact=True)
    torch.testing.assert_close(logits(model), before)
    parts = model.adapters_config.get("sst2").configs
    assert [type(part) for part in parts] == [BnConfig, BnConfig, LoRAConfig]


def test_another_adapter_of_the_same_configuration_stays() -> None:
    model = trained("bert", [0])
    model.add_adapter("other", config=AdaptableConfig())
    focus(model, "sst2", exact=True)
    assert isinstance(model.adapters_config.get("other"), AdaptableConfig)
    assert all(of.adapters["other"].switch for of in bottleneck_layers(model, "other"))


# Runs in a process without the model and, for a plain activation, without aa_ray.
LOAD = """
import sys
import torch
from adapters import AutoAdapterModel
model = AutoAdapterModel.from_pretrained(sys.argv[1])
model.load_adapter(sys.argv[2], set_active=True)
model.eval()
ids = torch.load(sys.argv[3])
with torch.inference_mode():
    torch.save(model(ids).logits, sys.argv[4])
"""


def load_elsewhere(model: Any, folder: Path, before: str) -> subprocess.CompletedProcess[str]:
    """Save the model's adapter and load it in a new process that first runs ``before``."""
    backbone = tiny_encoders.encoder(model.config.model_type)
    backbone.delete_head("sst2")
    backbone.save_pretrained(folder / "backbone")
    model.save_adapter(str(folder / "adapter"), "sst2")
    torch.save(tiny_encoders.batch()["input_ids"], folder / "ids.pt")
    paths = [str(folder / name) for name in ("backbone", "adapter", "ids.pt", "logits.pt")]
    return fresh_process.run(before + LOAD, *paths)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("when", ["import aa_ray", "import adapters.methods, aa_ray"])
def test_switches_are_saved_and_loaded(name: str, when: str, tmp_path: Path) -> None:
    model = trained(name, [1], denominator="B", temperature=0.5)
    ran = load_elsewhere(model, tmp_path, when + "\n")
    assert ran.returncode == 0, ran.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits(model))


@pytest.mark.parametrize("activation", ["relu", "rational:one"])
def test_without_aa_ray_switches_are_not_ignored(activation: str, tmp_path: Path) -> None:
    """Stock AdapterHub would load the bottlenecks and silently drop switch and identity."""
    ran = load_elsewhere(trained("bert", [1], non_linearity=activation), tmp_path, "")
    last = ran.stderr.strip().splitlines()[-1]
    assert ran.returncode != 0 and last.startswith("KeyError: ")
    assert "run 'import aa_ray' before loading it" in last


@pytest.mark.parametrize("exact", [True, False])
def test_a_focused_adapter_with_a_plain_activation_needs_no_aa_ray(
    exact: bool, tmp_path: Path
) -> None:
    model = trained("roberta", [0, 2], non_linearity="gelu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        focus(model, "sst2", exact=exact)
    ran = load_elsewhere(model, tmp_path, "import sys; sys.modules['aa_ray'] = None\n")
    assert ran.returncode == 0, ran.stderr
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits(model))
    assert "adaptable" not in (tmp_path / "adapter" / "adapter_config.json").read_text()


def test_a_focused_adapter_with_a_rational_needs_aa_ray(tmp_path: Path) -> None:
    model = trained("bert", [0, 2])
    focus(model, "sst2", exact=True)
    (tmp_path / "without").mkdir()
    ran = load_elsewhere(model, tmp_path / "without", "")
    assert ran.returncode != 0 and "rational:one not found" in ran.stderr
    (tmp_path / "with").mkdir()
    assert load_elsewhere(model, tmp_path / "with", "import aa_ray\n").returncode == 0
    assert torch.equal(torch.load(tmp_path / "with" / "logits.pt"), logits(model))


def test_a_whole_checkpoint_of_transformers_has_the_switches(tmp_path: Path) -> None:
    model = trained("roberta", [2])
    before = logits(model)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    loaded.set_active_adapters("sst2")
    assert selected_layers(loaded, "sst2") == [2]
    assert torch.equal(logits(loaded), before)


@pytest.mark.parametrize("switched", [True, False])
def test_safetensors(switched: bool, tmp_path: Path) -> None:
    """safetensors refuses a tensor with two names, and AdapterHub gives the activation two."""
    model = trained("bert", switched=switched)
    model.save_adapter(str(tmp_path), "sst2", use_safetensors=True)
    other = encoder("bert")
    other.load_adapter(str(tmp_path), set_active=True, use_safetensors=True)
    assert torch.equal(logits(other), logits(model))


def test_a_state_with_both_names_of_the_activation_loads(tmp_path: Path) -> None:
    """Earlier versions saved both names."""
    model = trained("bert")
    model.save_adapter(str(tmp_path), "sst2")
    file = tmp_path / "pytorch_adapter.bin"
    state = torch.load(file)
    assert not any(".non_linearity." in key for key in state)
    twice = {key.replace("adapter_down.1.f", "non_linearity.f"): v for key, v in state.items()}
    torch.save(state | twice, file)
    other = encoder("bert")
    info: dict[str, list[str]] = {}
    other.load_adapter(str(tmp_path), set_active=True, loading_info=info)
    assert torch.equal(logits(other), logits(model))
    assert info["missing_keys"] == [] and not any("sst2" in key for key in info["unexpected_keys"])


def test_leave_out_when_loading(tmp_path: Path) -> None:
    model = trained("bert", [0, 1, 2])
    model.save_adapter(str(tmp_path), "sst2")
    other = encoder("bert")
    other.load_adapter(str(tmp_path), load_as="upper", leave_out=[0], set_active=True)
    assert selected_layers(other, "upper") == [1, 2]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["config"]["layers"] == "all"


def test_add_adapter_takes_what_adapterhub_takes() -> None:
    model = encoder("bert")
    aa_ray.add_adapter(model, "sst2", set_active=True)
    assert model.adapters_config.get("sst2") == AdaptableConfig()
    assert str(model.active_adapters) == "Stack[sst2]"
    add_adapter(model, "sst2", AdaptableConfig(layers=[1]), overwrite_ok=True)
    assert selected_layers(model, "sst2") == []
    add_adapter(model, "lora", LoRAConfig())
    assert selected_layers(model, "lora") == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: add_adapter(m, "a", AdaptableConfig(layers=[1, 3])), "3 layers, .* layer 3"),
        (lambda m: selected_layers(m, "b"), r"unknown adapter 'b' \(allowed: sst2\)"),
        (lambda m: focus(m, "b"), "unknown adapter 'b'"),
        (lambda m: selected_layers(nn.Linear(2, 2), "a"), "Linear has no AdapterHub adapters"),
        (lambda m: add_adapter(m.base_model.pooler, "a"), r"call adapters.init\(model\) first"),
    ],
)
def test_wrong_use_gets_one_line(call: Any, message: str) -> None:
    model = encoder("bert", AdaptableConfig())
    with pytest.raises(UsageError, match=message):
        call(model)


def test_a_model_of_transformers_alone_is_refused() -> None:
    """transformers' own ``add_adapter`` belongs to another library."""
    bert = BertForSequenceClassification(tiny_encoders.config("bert"))
    with pytest.raises(AdapterError, match=r"call adapters.init\(model\) first"):
        add_adapter(bert, "sst2")


def test_what_focus_cannot_express_is_refused() -> None:
    model = trained("bert", [1], switch_skip="no")
    with pytest.raises(AdapterError, match="always has one, so it cannot be a plain adapter"):
        focus(model, "sst2")
    assert isinstance(model.adapters_config.get("sst2"), AdaptableConfig)
    model.add_adapter("plain", config=SeqBnConfig())
    with pytest.raises(UsageError, match="'plain' has no AdaptableConfig, so there is nothing to"):
        focus(model, "plain")
