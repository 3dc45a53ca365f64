"""AdapterHub's configurations as text, and restricted to the layers of a trial.

The text is one of AdapterHub's names or strings ("lora", "lora[r=4]|prefix_tuning"), or a
configuration as JSON. A trial holds the text, since it decides what is trained.
"""

import json
from collections.abc import Sequence
from typing import Any

from aa_ray.errors import UsageError


def as_text(configuration: Any) -> str:
    """The text of an AdapterHub configuration; a text is returned as it is."""
    if isinstance(configuration, str):
        return configuration
    return json.dumps(configuration.to_dict(), sort_keys=True)


def read(text: str) -> Any:
    """The AdapterHub configuration that the text describes.

    Raises:
        UsageError: AdapterHub does not know it, or a trial cannot use it.
    """
    from adapters import AdapterConfig

    try:
        configuration = AdapterConfig.load(json.loads(text) if text.startswith("{") else text)
    except Exception as error:  # AdapterHub raises no specific error for a wrong name or value
        raise UsageError(
            f"configuration {text}: AdapterHub does not accept it "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); give a name such as lora, "
            "ia3 or double_seq_bn, with values as in lora[r=4], or a configuration of adapters"
        ) from error
    for part in _parts(configuration):
        if part.architecture in ("mtl_lora", "prompt_tuning"):
            raise UsageError(
                f"configuration {text}: {part.architecture} needs more than one task, or changes "
                "the tokens that the classifier reads; choose another"
            )
    return configuration


def in_layers(configuration: Any, layers: Sequence[int], num_layers: int) -> Any:
    """The configuration with adapters in these layers only.

    Raises:
        UsageError: some layers are left out, and AdapterHub cannot do that for this type.
    """
    others = [layer for layer in range(num_layers) if layer not in layers]
    if not others:
        return configuration
    parts = [_without(part, others, num_layers) for part in _parts(configuration)]
    if len(parts) == 1:
        return parts[0]
    from adapters import ConfigUnion

    return ConfigUnion(*parts)


def _without(part: Any, others: Sequence[int], num_layers: int) -> Any:
    """A single configuration (no union) without adapters in the ``others``."""
    if "leave_out" in part:
        return part.replace(leave_out=sorted({*part["leave_out"], *others}))
    if "layers" in part:  # ReFT
        used = range(num_layers) if part["layers"] == "all" else part["layers"]
        return part.replace(layers=[layer for layer in used if layer not in others])
    raise UsageError(
        f"configuration {type(part).__name__} is for all layers; AdapterHub cannot leave any out"
    )


def _parts(configuration: Any) -> list[Any]:
    """The configurations in a union; a single one as a list."""
    return list(getattr(configuration, "configs", [configuration]))
