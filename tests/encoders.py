"""Tiny encoders of every supported architecture, built on the fly.

Each has random weights and the kind of tokeniser that its architecture uses on the hub.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AlbertTokenizerFast,
    AutoModel,
    AutoModelForMaskedLM,
    BertTokenizerFast,
    CamembertTokenizerFast,
    DebertaTokenizerFast,
    DistilBertTokenizerFast,
    ElectraTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaTokenizerFast,
    XLMRobertaTokenizerFast,
)

from aa_ray.data import generated, tasks
from aa_ray.training.random_encoders import config_of, import_architectures

import_architectures()


@functools.lru_cache
def encoder_folder(kind: str) -> Path:
    """Save a checkpoint of this model type and return its folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{kind}-"))
    tokenizer = _tokenizer(kind, folder)
    config = config_of(kind, len(tokenizer))
    torch.manual_seed(0)
    # As on the hub, some checkpoints keep the pre-training head, whose weights are tied to the
    # embeddings.
    as_encoder = kind in ("albert", "bert")
    model = (AutoModel if as_encoder else AutoModelForMaskedLM).from_config(config)
    model.save_pretrained(folder)
    return folder


@functools.lru_cache
def _texts() -> list[str]:
    """Return the texts of the embedded tasks."""
    return [
        text
        for name in generated.TASKS
        for column in tasks.get(name).texts
        for text in generated.generate(name)[0][column].to_pylist()[:500]
    ]


def _tokenizer(kind: str, folder: Path) -> PreTrainedTokenizerFast:
    """Save the tokeniser and return it."""
    pieces = {
        "albert": (AlbertTokenizerFast, "spiece.model"),
        "camembert": (CamembertTokenizerFast, "sentencepiece.bpe.model"),
        "xlm-roberta": (XLMRobertaTokenizerFast, "sentencepiece.bpe.model"),
    }
    words = {"bert": BertTokenizerFast, "electra": ElectraTokenizerFast,
             "distilbert": DistilBertTokenizerFast, "modernbert": BertTokenizerFast}  # fmt: skip
    if kind == "deberta-v2":
        return _with_sentencepiece_alone(folder)
    if kind in pieces:
        kind_of_tokenizer, name = pieces[kind]
        tokenizer = kind_of_tokenizer(vocab_file=str(_sentencepiece(folder / name)))
    elif kind in words:
        tokenizer = words[kind](vocab_file=str(_words(folder / "vocab.txt")))
    else:
        bpe = ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        if kind == "deberta":
            special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        bpe.train_from_iterator(_texts(), vocab_size=600, special_tokens=special)
        bpe.save_model(str(folder))
        made = DebertaTokenizerFast if kind == "deberta" else RobertaTokenizerFast
        tokenizer = made(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def _words(path: Path) -> Path:
    """Write a vocabulary of whole words."""
    words = dict.fromkeys(
        word
        for text in _texts()
        for word in text.lower().replace(".", " .").replace("?", " ?").split()
    )
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    return path


def _sentencepiece(path: Path, **special: Any) -> Path:
    """Train a SentencePiece model on the texts."""
    with path.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(_texts()), model_writer=stream, vocab_size=400,
            hard_vocab_limit=False, minloglevel=2, num_threads=1, **special,
        )  # fmt: skip
    return path


def _with_sentencepiece_alone(folder: Path) -> PreTrainedTokenizerFast:
    """Save only spm.model, as deberta-v3 does on the hub.

    transformers builds the fast tokeniser from it.
    """
    from transformers import AutoTokenizer

    _sentencepiece(
        folder / "spm.model", pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]",
        bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "DebertaV2Tokenizer"}')
    (folder / "config.json").write_text('{"model_type": "deberta-v2"}')  # until the model is saved
    return AutoTokenizer.from_pretrained(folder)
