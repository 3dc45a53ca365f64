"""Reads a checkpoint's configuration and checks that its files match, before anything runs.

For a BERT this needs neither torch nor transformers, which take seconds to import.
"""

import json
import re
from pathlib import Path
from typing import Any

from aa_ray import hub
from aa_ray.core import encoders
from aa_ray.core.encoders import Shape
from aa_ray.core.known_encoders import SHAPES
from aa_ray.errors import UsageError, one_line, shortened

# Any of these holds a tokenizer's vocabulary; the last two are SentencePiece's.
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.vocab")

# No encoder has more. Building a model with a larger number would take hours.
MOST_LAYERS, MOST_UNITS = 1000, 100_000

# Suffixes of the names of the embedding table, which has a row per token.
_EMBEDDINGS = ("word_embeddings.weight", "tok_embeddings.weight")

_OF_LAYER = re.compile(r"\bencoder\.layer\.(\d+)\.")


def check_folder(folder: Path, shape: Shape, name: str) -> None:
    """Refuse a folder with which every trial would fail, or silently train on wrong weights."""
    weights = folder / "model.safetensors"
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as tensors:
            shapes = {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"--backbone {name}: model.safetensors is not a complete safetensors file ({error}); "
            "copy it again"
        ) from error
    if _written_shape(folder / "config.json") is not None:
        _check_bert(shape, shapes, name)
    if not _is_plain_bert(folder / "config.json", shapes):
        _check_weights(folder, shapes, name)
    if not any(path.is_file() for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise UsageError(
            f"--backbone {name}: the folder has no tokenizer (tokenizer.json, vocab.txt or a "
            "SentencePiece model)"
        )
    _check_tokenizer(folder / "tokenizer.json", shapes, name)


def _check_weights(folder: Path, shapes: dict[str, Any], name: str) -> None:
    """Refuse weights that do not match the configuration; builds the model to compare shapes."""
    try:
        missing = encoders.missing_weights(encoders.read_config(str(folder)), shapes)
    except Exception as error:
        raise UsageError(
            f"--backbone {name}: no model can be built from config.json ({one_line(error)}); copy "
            "it again"
        ) from error
    if missing:
        count = f"{len(missing)} weight{'s' * (len(missing) > 1)}"
        raise UsageError(
            f"--backbone {name}: model.safetensors lacks {count} that config.json describes, or "
            f"holds them in another shape ({missing[0]}, ...); copy both from one model"
        )


def _check_bert(shape: Shape, shapes: dict[str, Any], name: str) -> None:
    """Refuse weights as ``_check_weights`` does, for a BERT, without importing transformers."""
    layers = {int(match[1]) for key in shapes if (match := _OF_LAYER.search(key))}
    if not layers:
        raise UsageError(f"--backbone {name}: model.safetensors holds no BERT encoder")
    widths = {s[-1] for key, s in shapes.items() if key.endswith("word_embeddings.weight")}
    if layers != set(range(shape.num_layers)) or widths != {shape.hidden_size}:
        raise UsageError(
            f"--backbone {name}: config.json describes {shape.num_layers} layers of "
            f"{shape.hidden_size} units, model.safetensors holds {len(layers)} layers of "
            f"{' or '.join(map(str, sorted(widths))) or 'unknown'} units; copy both from one model"
        )


def _is_plain_bert(config: Path, shapes: dict[str, Any]) -> bool:
    """Whether config.json certainly describes a BERT with weights of these shapes.

    This saves importing transformers. If the answer is no, transformers decides.
    """
    try:
        fields = json.loads(config.read_text("utf-8"))
        units, inner = fields["hidden_size"], fields["intermediate_size"]
        expected = {
            "word_embeddings.weight": [fields["vocab_size"], units],
            "position_embeddings.weight": [fields["max_position_embeddings"], units],
            "token_type_embeddings.weight": [fields["type_vocab_size"], units],
            **{f"{part}.weight": [units, units] for part in ("query", "key", "value")},
            **{f"{part}.bias": [units] for part in ("query", "key", "value")},
            "attention.output.dense.weight": [units, units],
            "intermediate.dense.weight": [inner, units],
            "intermediate.dense.bias": [inner],
            "output.dense.weight": [units, inner],
            "LayerNorm.weight": [units],
            "LayerNorm.bias": [units],
        }
        dropouts = [fields["hidden_dropout_prob"], fields["attention_probs_dropout_prob"]]
        plain = (
            fields["model_type"] == "bert"
            and fields["hidden_act"] in ("gelu", "gelu_new", "relu")
            and units % fields["num_attention_heads"] == 0
            and all(0 <= dropout <= 1 for dropout in dropouts)
        )
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return False
    checked = (
        next((shape for end, shape in expected.items() if key.endswith(f".{end}")), of_key)
        == of_key
        for key, of_key in shapes.items()
        if "pooler" not in key and "cls." not in key
    )
    return plain and all(checked)


def _check_tokenizer(path: Path, shapes: dict[str, Any], name: str) -> None:
    """Refuse a tokenizer that cannot be read, or with more tokens than the weights have rows."""
    if not path.is_file():
        return  # transformers makes one from the vocabulary
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain exceptions
        raise UsageError(
            f"--backbone {name}: tokenizer.json cannot be read ({one_line(error)}); copy it again"
        ) from error
    tokens = tokenizer.get_vocab_size(with_added_tokens=False)
    rows = max((s[0] for key, s in shapes.items() if key.endswith(_EMBEDDINGS)), default=tokens)
    if tokens > rows:
        raise UsageError(
            f"--backbone {name}: tokenizer.json has {tokens:,} tokens, model.safetensors holds "
            f"{rows:,}; copy both from one model"
        )


def read_shape(path: str, name: str) -> Shape:
    """The shape of the encoder. Well-known encoders on the hub need no network for it.

    Raises:
        UsageError: the model does not exist, or a study cannot adapt it.
    """
    return _written_shape(Path(path) / "config.json") or _shape_by_transformers(path, name)


def _written_shape(config: Path) -> Shape | None:
    """The shape according to the file, for a BERT; None for all other models.

    So printing a finished study does not import transformers, which takes seconds.
    """
    try:
        written = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return _bert_shape(written) if isinstance(written, dict) else None


def _bert_shape(config: dict[str, Any]) -> Shape | None:
    """The shape of an ordinary BERT; None for all other models, which need transformers."""
    absolute = config.get("position_embedding_type", "absolute") == "absolute"
    if config.get("model_type") != "bert" or config.get("is_decoder") or not absolute:
        return None
    layers: Any = config.get("num_hidden_layers")
    width: Any = config.get("hidden_size")
    if not (_is_size(layers, MOST_LAYERS) and _is_size(width, MOST_UNITS)):
        return None
    return Shape(layers, width)


def _is_size(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _shape_by_transformers(path: str, name: str) -> Shape:
    """The shape of a hub model, or of a folder whose configuration is not enough."""
    folder = Path(path).is_dir()
    if path in SHAPES and not folder:
        return SHAPES[path]
    cached = folder or hub.cached_file(path, "config.json") is not None
    if refused := hub.refusal(cached, hub.cache(), "--backbone FOLDER or minilm"):
        raise UsageError(
            f"--backbone {name}: neither minilm, nor a checkpoint folder, nor a model on the hub: "
            f"{refused}"
        )
    try:
        with hub.from_cache_if_silent(cached):
            config = encoders.read_config(path)
    except Exception as error:  # from the network, the file, or a value of the wrong type
        raise UsageError(
            f"--backbone {name}: neither minilm, nor a checkpoint folder, nor a model on the hub "
            f"({_first_line(error)}); check the name and the network"
        ) from error
    return _bert_shape(config.to_dict()) or _shape_of(config, name)


def _first_line(error: Exception) -> str:
    return one_line((str(error) or type(error).__name__).splitlines()[0])


def _shape_of(config: Any, name: str) -> Shape:
    """The shape of a configuration that transformers has read.

    Raises:
        UsageError: no model can be built from it, or a study cannot adapt the model.
    """
    for key, most in (("num_hidden_layers", MOST_LAYERS), ("hidden_size", MOST_UNITS)):
        value = getattr(config, key, 1)
        if not _is_size(value, most):
            raise UsageError(
                f"--backbone {name}: config.json has {key}={shortened(value)}, expected a whole "
                f"number from 1 to {most:,}"
            )
    try:
        return encoders.shape_of(config, name)
    except UsageError:
        raise
    except Exception as error:  # model classes fail in many ways on unexpected values
        raise UsageError(
            f"--backbone {name}: no model can be built from config.json ({one_line(error)}); copy "
            "it again"
        ) from error
