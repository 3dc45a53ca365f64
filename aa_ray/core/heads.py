"""A classification head for AdapterHub that reads the mean of all tokens.

AdapterHub's own heads read the first token, through the model's pooler or without it. A backbone
that was trained with mean pooling needs this one. ``aa_ray.core.registration`` makes AdapterHub
load saved heads of this type, so that ``import aa_ray`` is all that the users of an exported
adapter have to add.
"""

from typing import Any

import torch
from adapters.heads import ClassificationHead

from aa_ray.core.registration import HEAD_TYPE


class MeanPoolingHead(ClassificationHead):
    """Dropout and one linear layer on the mean of the last layer's tokens, padding left out.

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
        """As AdapterHub's; ``outputs[0]`` is [batch, tokens, hidden], the mask [batch, tokens]."""
        if cls_output is None:
            hidden = outputs[0]
            if attention_mask is None:
                cls_output = hidden.mean(dim=1)
            else:
                mask = attention_mask[..., None].to(hidden.dtype)
                cls_output = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return super().forward(outputs, cls_output, attention_mask, return_dict, **kwargs)
