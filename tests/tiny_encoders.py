"""Tiny encoders of several architectures as AdapterHub models, with random weights."""

from pathlib import Path
from typing import Any

import adapters
import torch
from transformers import (
    AlbertConfig,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    PretrainedConfig,
    RobertaConfig,
)

from aa_ray.data import generated, tasks

LAYERS, HIDDEN, WORDS = 3, 32, 50
_SIZE = {
    "vocab_size": WORDS,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_DISTILBERT = {"vocab_size": WORDS, "dim": HIDDEN, "n_layers": LAYERS, "n_heads": 2}
ENCODERS = ("bert", "roberta", "distilbert")


def config(name: str) -> PretrainedConfig:
    """Return a new configuration, because AdapterHub writes the model's heads into it."""
    if name == "distilbert":
        return DistilBertConfig(**_DISTILBERT, hidden_dim=64, initializer_range=0.2)
    kind = {"bert": BertConfig, "roberta": RobertaConfig, "albert": AlbertConfig}[name]
    return kind(**_SIZE, initializer_range=0.2)


def encoder(name: str = "bert", adapter: Any = None, seed: int = 0) -> Any:
    """Return a model with the head "sst2" and, if ``adapter`` is passed, an adapter "sst2".

    LayerNorms have weights as after pre-training. With weights of 1 and biases of 0,
    LN(LN(z) + z) = LN(z), and the released identity would change nothing.
    """
    torch.manual_seed(seed)
    model = adapters.AutoAdapterModel.from_config(config(name))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "layernorm" in key.lower().replace("_", ""):
                parameter.add_(torch.randn(parameter.shape), alpha=0.5)
    model.add_classification_head("sst2", num_labels=2)
    if adapter is not None:
        model.add_adapter("sst2", config=adapter)
        model.train_adapter("sst2")
    return model


def save_bert(folder: Path) -> None:
    """Save a BERT checkpoint with random weights that knows the words of the demo's tasks."""
    folder.mkdir(exist_ok=True)
    words: dict[str, None] = {}
    for name in generated.TASKS:
        for column in tasks.get(name).texts:
            for text in generated.generate(name)[0][column].to_pylist():
                words.update(
                    dict.fromkeys(text.lower().replace(".", " .").replace("?", " ?").split())
                )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *words]) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(special) + len(words),
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,  # large enough that random features tell words apart
    )
    bert = BertModel(config)
    torch.nn.init.normal_(bert.pooler.dense.bias, std=0.02)  # as in a pre-trained pooler
    bert.save_pretrained(folder)


def batch(examples: int = 8, tokens: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return examples [examples, tokens] of only odd or only even words.

    The label says which.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (examples,), generator=generator)
    words = torch.randint(3, WORDS // 2, (examples, tokens), generator=generator)
    return {"input_ids": 2 * words + labels[:, None], "labels": labels}


def perturb(model: Any, scale: float = 0.3, seed: int = 0) -> None:
    """Move the trained parameters away from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


def select(model: Any, layers: list[int], name: str = "sst2") -> None:
    """Set the switches so that they select these layers."""
    from aa_ray.core.adapter import bottleneck_layers

    with torch.no_grad():
        for layer in bottleneck_layers(model, name):
            picked = layer.layer_idx in layers
            layer.adapters[name].switch.logits.copy_(torch.tensor([0.5, 1.0 if picked else 0.0]))


def logits(model: Any) -> torch.Tensor:
    """Return the logits in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        result: torch.Tensor = model(batch()["input_ids"]).logits
    return result
