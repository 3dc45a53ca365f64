"""The sizes of well-known encoders on the hub, so that a plan or a table needs no network.

They are what ``aa_ray.core.encoders.shape_of`` returns for the config.json on huggingface.co. The
tests build each model and compare layers and widths with the papers: Devlin et al. 2019, section 3
(BERT), Liu et al. 2019 (RoBERTa), Sanh et al. 2019 (DistilBERT), He et al. 2023 (DeBERTa v3).
"""

from aa_ray.core.encoders import Shape

_BERT_BASE, _BERT_LARGE = Shape(12, 768), Shape(24, 1024)
_ROBERTA_BASE = Shape(12, 768, pooler=False, parameters=124_055_040, kind="roberta")
_ROBERTA_LARGE = Shape(24, 1024, pooler=False, parameters=354_310_144, kind="roberta")
_DISTILBERT = Shape(
    6, 768, pooler=False, fused=False, parameters=66_362_880, kind="distilbert"
)  # fmt: skip
_DEBERTA_V3_BASE = Shape(
    12, 768, pooler=False, fused=False, parameters=183_831_552, kind="deberta-v2"
)
_DEBERTA_V3_LARGE = Shape(
    24, 1024, pooler=False, fused=False, parameters=434_012_160, kind="deberta-v2"
)

# Hub name -> shape. Some models have two names on the hub, an old one and one with the owner.
SHAPES: dict[str, Shape] = {
    "bert-base-cased": _BERT_BASE,
    "bert-base-uncased": _BERT_BASE,
    "bert-large-cased": _BERT_LARGE,
    "bert-large-uncased": _BERT_LARGE,
    "distilbert-base-uncased": _DISTILBERT,
    "distilbert/distilbert-base-uncased": _DISTILBERT,
    "FacebookAI/roberta-base": _ROBERTA_BASE,
    "FacebookAI/roberta-large": _ROBERTA_LARGE,
    "google-bert/bert-base-cased": _BERT_BASE,
    "google-bert/bert-base-uncased": _BERT_BASE,
    "google-bert/bert-large-cased": _BERT_LARGE,
    "google-bert/bert-large-uncased": _BERT_LARGE,
    "microsoft/deberta-v3-base": _DEBERTA_V3_BASE,
    "microsoft/deberta-v3-large": _DEBERTA_V3_LARGE,
    "roberta-base": _ROBERTA_BASE,
    "roberta-large": _ROBERTA_LARGE,
}
