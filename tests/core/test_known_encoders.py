"""aa_ray.core.known_encoders agrees with the models' configurations."""

from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from aa_ray import hub
from aa_ray.core import backbones, encoders
from aa_ray.core.backbones import Backbone
from aa_ray.core.checkpoint_folder import _bert_shape
from aa_ray.core.known_encoders import SHAPES

# Fields of config.json that decide the shape.
BASE = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
        "intermediate_size": 3072}  # fmt: skip
LARGE = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16,
         "intermediate_size": 4096}  # fmt: skip
ROBERTA = {"model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514,
           "type_vocab_size": 1, "pad_token_id": 1}  # fmt: skip
DEBERTA = {"model_type": "deberta-v2", "vocab_size": 128100, "type_vocab_size": 0,
           "max_position_embeddings": 512, "relative_attention": True, "position_buckets": 256,
           "position_biased_input": False, "share_att_key": True, "norm_rel_ebd": "layer_norm",
           "pos_att_type": "p2c|c2p"}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "bert-base": {"model_type": "bert", **BASE},
    "bert-large": {"model_type": "bert", **LARGE},
    "roberta-base": {**ROBERTA, **BASE},
    "roberta-large": {**ROBERTA, **LARGE},
    "deberta-v3-base": {**DEBERTA, **BASE},
    "deberta-v3-large": {**DEBERTA, **LARGE},
    "distilbert-base": {"model_type": "distilbert", "n_layers": 6, "dim": 768, "n_heads": 12,
                        "hidden_dim": 3072, "vocab_size": 30522},
}  # fmt: skip
# Millions of parameters, with embeddings, according to papers and model cards.
PUBLISHED = {"roberta-base": 125, "roberta-large": 355, "distilbert-base": 66,
             "deberta-v3-base": 86 + 98, "deberta-v3-large": 304 + 131}  # fmt: skip


def plain(name: str) -> str:
    """Return the name without owner and case."""
    return name.split("/")[-1].removesuffix("-uncased").removesuffix("-cased")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # from DeBERTa
@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_is_that_of_the_configuration(name: str) -> None:
    fields = dict(CONFIGS[plain(name)])
    config = CONFIG_MAPPING[fields.pop("model_type")](**fields)
    assert SHAPES[name] == (_bert_shape(config.to_dict()) or encoders.shape_of(config, name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    [counts] = {shape.parameters for known, shape in SHAPES.items() if plain(known) == name}
    assert counts is not None and counts / 1e6 == pytest.approx(PUBLISHED[name], abs=1)


def test_a_known_encoder_is_found_without_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub, "silence", asked)
    backbones.find.cache_clear()
    assert backbones.find("bert-large-uncased") == Backbone(
        "bert-large-uncased", "bert-large-uncased", 24, 1024
    )
    backbones.find.cache_clear()
