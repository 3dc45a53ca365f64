"""Encoders of all architectures with random weights, for checks and tests."""

import importlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel, BertConfig, PreTrainedModel
from transformers import BertForSequenceClassification as Bert

from aa_ray.core import encoders, heads, model
from aa_ray.data.batches import Examples

LAYERS = 3
POSITIONS = 64  # maximum number of tokens of an example

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.2,
}
ROBERTA = {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1, "pad_token_id": 1}
# As in deberta-v3: relative positions and no segments.
RELATIVE = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "max_relative_positions": -1,
}
# Model type -> its configuration in addition to ``SIZES``.
TYPES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "bert": {},
    "camembert": ROBERTA,
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE
    | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "distilbert": {"hidden_dim": SIZES["intermediate_size"]},
    "electra": {"embedding_size": 16},  # like ELECTRA-small, which projects its embeddings
    "modernbert": {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3,
                   "global_attn_every_n_layers": 2, "local_attention": 8, "pad_token_id": 0},
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}  # fmt: skip

WORDS = 128  # size of a tiny encoder's vocabulary


def import_architectures() -> None:
    """Import modules that would otherwise warn later, since they use the deprecated torch.jit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in ("deberta", "deberta_v2", "modernbert"):
            importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def config_of(kind: str, words: int) -> Any:
    """The configuration of a tiny encoder of this model type."""
    return CONFIG_MAPPING[kind](vocab_size=words, **(SIZES | TYPES[kind]))


def save_tiny(kind: str, folder: Path) -> None:
    """Write a tiny encoder of this model type to the folder, always with the same weights."""
    import_architectures()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config_of(kind, WORDS)).save_pretrained(folder)


def bert(layers: int, hidden: int, device: torch.device) -> PreTrainedModel:
    """A random BERT of this size on the device, as ``aa_ray.core.model.load`` returns it."""
    heads_of = max(1, hidden // 64)
    config = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads_of,
        intermediate_size=4 * hidden,
    )  # fmt: skip
    with torch.device(device):
        encoder = Bert(config)
    encoders.init(encoder)
    encoder.dropout = nn.Dropout(heads.head_dropout(config))
    return encoder


def without_dropout(encoder: PreTrainedModel) -> PreTrainedModel:
    """The same model without dropout, so that training draws no random numbers."""
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return encoder


def examples(count: int, seed: int = 0, tokens: int = 8, words: int = WORDS) -> Examples:
    """Texts of random token ids, larger ones for label 1; 4 to 2 * ``tokens`` - 4 tokens each."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    half = (words - 5) // 2
    ids = [
        [2, *(5 + half * label + rng.integers(0, half, rng.integers(2, 2 * tokens - 5))), 3]
        for label in labels
    ]
    plain = [[int(word) for word in text] for text in ids]
    return Examples.from_lists(plain, None, labels)


def fitting(encoder: PreTrainedModel, texts: Examples) -> Examples:
    """The examples, without segment ids if the encoder does not read them."""
    if model.reads_segments(encoder):
        return texts
    return replace(texts, token_type_ids=np.zeros_like(texts.token_type_ids))
