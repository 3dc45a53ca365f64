"""The classifier of a trial: its input and its layers.

With pooling "cls" it reads the first token. BERT and ALBERT have a pooler, a hidden layer from
pre-training. As in the paper it stays frozen, and one trained linear layer reads it. Other encoders
have no pooler; there the trial uses AdapterHub's classifier, whose hidden layer is trained. With
pooling "mean" one linear layer reads the mean of all tokens, as ``MeanPoolingHead`` does.

AdapterHub's heads read the first token, with or without the model's pooler. A backbone that was
trained with mean pooling needs ``MeanPoolingHead``. ``aa_ray.core.registration`` makes AdapterHub
load saved heads of this type, so users of an exported adapter only add ``import aa_ray``.
"""

from collections.abc import Callable
from typing import Any

import torch
from adapters.heads import ClassificationHead
from torch import Tensor, nn

from aa_ray.core.registration import HEAD_TYPE
from aa_ray.trial import Pooling


class MeanPoolingHead(ClassificationHead):
    """Dropout and one linear layer on the mean of the last layer's tokens, without padding.

    Takes the arguments of ``adapters.heads.ClassificationHead``; ``use_pooler`` has no effect.
    """

    def __init__(self, model: Any, head_name: str, **config: Any) -> None:
        super().__init__(model, head_name, **(config | {"use_pooler": False}))
        self.config["head_type"] = HEAD_TYPE

    def forward(
        self,
        outputs: Any,
        cls_output: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Classify as AdapterHub's heads do, from the mean of all tokens.

        ``outputs[0]`` is [batch, tokens, hidden], ``attention_mask`` [batch, tokens].
        """
        if cls_output is None:
            hidden = outputs[0]
            if attention_mask is None:
                cls_output = hidden.mean(dim=1)
            else:
                cls_output = mean_of_tokens(hidden, attention_mask)
        return super().forward(outputs, cls_output, attention_mask, return_dict, **kwargs)


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """[batch, tokens, hidden] -> [batch, hidden]; the mask [batch, tokens] is 0 at padding."""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def has_pooler(encoder: Any) -> bool:
    """Whether transformers classifies through a pooler that is part of the encoder."""
    return getattr(encoder.base_model, "pooler", None) is not None


def head_layers(encoder: Any, pooling: Pooling) -> int:
    """The number of linear layers of a trial's classifier; see the module's docstring."""
    return 2 if pooling == "cls" and not has_pooler(encoder) else 1


def head_dropout(config: Any) -> float:
    """The probability of dropout before each layer of the classifier: AdapterHub's rule."""
    for name in ("classifier_dropout", "hidden_dropout_prob"):
        probability = getattr(config, name, None)
        if probability is not None:
            return float(probability)
    return 0.0


def make_classifier(encoder: Any, pooling: Pooling, outputs: int) -> nn.Module:
    """A trial's classifier with initial weights, drawn from torch's global generator."""
    if head_layers(encoder, pooling) == 2:
        return ClassificationHead(encoder, "classifier", num_labels=outputs, layers=2)
    classifier = nn.Linear(encoder.config.hidden_size, outputs)
    nn.init.normal_(classifier.weight, std=encoder.config.initializer_range)
    nn.init.zeros_(classifier.bias)
    return classifier


def add_head(
    model: Any,
    name: str,
    outputs: int,
    labels: dict[int, str] | None,
    pooling: Pooling,
    pooler: bool,
) -> None:
    """Add a trial's classifier as a head to an AdapterHub model with flexible heads.

    Args:
        pooler: whether transformers classifies through a pooler that is part of the encoder.
    """
    settings: dict[str, Any] = {"num_labels": outputs, "layers": 1, "id2label": labels}
    if pooling == "mean":
        model.register_custom_head(HEAD_TYPE, MeanPoolingHead)
        model.add_custom_head(HEAD_TYPE, name, **settings)
    else:
        settings["layers"] = 1 if pooler else 2
        model.add_classification_head(name, **settings, use_pooler=pooler)


def linears(classifier: nn.Module) -> list[nn.Linear]:
    """The classifier's linear layers in order, with a tanh between two of them."""
    return [module for module in classifier.modules() if isinstance(module, nn.Linear)]


def logits(classifier: nn.Module, pooled: Tensor, dropout: Callable[[Tensor], Tensor]) -> Tensor:
    """The classifier's outputs [..., outputs] for its input [..., hidden], in its precision.

    Args:
        dropout: applied before each layer.
    """
    for number, linear in enumerate(linears(classifier)):
        pooled = dropout(torch.tanh(pooled) if number else pooled)
        pooled = linear(pooled.to(linear.weight.dtype))
    return pooled
