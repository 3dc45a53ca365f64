"""aa_ray.core.encoders: the encoders that a study accepts, and the messages for others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CamembertConfig, CamembertModel, RobertaModel

from aa_ray.core import backbones, checkpoint_folder, encoders, model
from aa_ray.errors import UsageError
from aa_ray.study.trials import make_trial
from aa_ray.training.random_encoders import SIZES, TYPES
from tests.encoders import encoder_folder


def folder_with(tmp_path: Path, **config: Any) -> str:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    return str(tmp_path)


def test_the_types_that_are_taken() -> None:
    """A new type in AdapterHub or transformers needs a model in tests/encoders.py."""
    assert encoders.adaptable_types() == sorted(TYPES)
    assert set(encoders.BERT_LAYERS) <= set(TYPES)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model_type": "gpt2"}, "gpt2 is a decoder-only model"),
        ({"model_type": "llama"}, "llama is a decoder-only model"),
        ({"model_type": "bert", "is_decoder": True}, "bert is a decoder-only model"),
        ({"model_type": "t5"}, "t5 is a sequence-to-sequence model"),
        ({"model_type": "bart"}, "bart is a sequence-to-sequence model"),
        (
            {"model_type": "mpnet"},
            "AdapterHub cannot adapt mpnet, or transformers cannot classify with it",
        ),
        (
            {"model_type": "vit"},
            "AdapterHub cannot adapt vit, or transformers cannot classify with it",
        ),
        (
            {"model_type": "xmod"},
            "xmod cannot be adapted (AdapterHub removes its language modules)",
        ),
    ],
)
def test_other_models_are_refused_with_one_line(
    config: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    folder = folder_with(tmp_path, **config)
    with pytest.raises(UsageError) as raised:
        backbones.find(folder)
    types = ", ".join(encoders.adaptable_types())
    assert str(raised.value) == (
        f"--backbone {folder}: {problem}; use an encoder of one of these types: {types}"
    )


def test_weights_that_are_not_those_of_the_configuration(tmp_path: Path) -> None:
    copy = shutil.copytree(encoder_folder("distilbert"), tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"n_layers": 4}))
    with pytest.raises(UsageError, match=r"lacks 16 weights that config.json describes, or holds"):
        backbones.find(str(copy))
    (copy / "config.json").write_text(json.dumps(config | {"hidden_dim": 128}))
    with pytest.raises(
        UsageError, match=r"\(transformer.layer.0.ffn.lin1.weight, ...\); copy both"
    ):
        backbones.find(str(copy))


def test_old_names_of_layer_norms_are_known(tmp_path: Path) -> None:
    copy = shutil.copytree(encoder_folder("roberta"), tmp_path / "old")
    weights = load_file(copy / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in weights.items()
    }
    save_file(old, copy / "model.safetensors", {"format": "pt"})
    assert backbones.find(str(copy)).num_layers == SIZES["num_hidden_layers"]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_folder_without_vocabulary(kind: str, tmp_path: Path) -> None:
    copy = shutil.copytree(encoder_folder(kind), tmp_path / "bare")
    for pattern in checkpoint_folder.VOCABULARIES:
        for path in copy.glob(pattern):
            path.unlink()
    with pytest.raises(UsageError, match="the folder has no tokenizer"):
        backbones.find(str(copy))


def test_camembert_is_roberta_by_another_name() -> None:
    """``SAME_MODULES`` relies on this: the same weights give the same output."""
    config = CamembertConfig(vocab_size=50, **SIZES)
    camembert = CamembertModel(config).eval()
    roberta = RobertaModel(config).eval()
    roberta.load_state_dict(camembert.state_dict())
    ids = torch.randint(5, 50, (2, 9))
    with torch.no_grad():
        assert torch.equal(camembert(ids)[0], roberta(ids)[0])
    assert encoders.read_config(str(encoder_folder("camembert"))).model_type == "roberta"


def test_modernbert_does_not_compile_itself() -> None:
    """It would on a GPU, unless its configuration says no, which saved ones never do."""
    folder = str(encoder_folder("modernbert"))
    assert model.load(folder).config.reference_compile is False


def test_a_pooler_is_asked_for_only_where_there_is_one() -> None:
    """The pooler of a tiny random ALBERT was never trained; RoBERTa's classifier has none."""
    albert, roberta = (backbones.find(str(encoder_folder(k))) for k in ("albert", "roberta"))
    assert albert.pooler and not backbones.pooler_is_trained(albert)
    assert not roberta.pooler and backbones.pooler_is_trained(roberta)


@pytest.mark.parametrize("method", ["aa", "aa-focused-sim", "adapter-drop", "random-n"])
def test_shared_layers_cannot_be_told_apart(method: str) -> None:
    folder = str(encoder_folder("albert"))
    with pytest.raises(UsageError, match=rf"--methods {method}: tiny-albert.* runs 1 layer\(s\) 3"):
        make_trial(method, "sst2", backbone=folder)
    for allowed in ("baseline", "rational-only", "lora"):
        assert make_trial(allowed, "sst2", backbone=folder).layers == (0,)
