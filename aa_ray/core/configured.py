"""Adds a trial's adapters to the model, for any AdapterHub configuration."""

from typing import Any

import torch
from adapters import AdapterConfig
from adapters.methods.lora import LoRAMergedLinear
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from transformers import PreTrainedModel

from aa_ray.core import configurations, encoders
from aa_ray.errors import TrainingError
from aa_ray.trial import Trial


def add_configured(encoder: PreTrainedModel, trial: Trial, name: str) -> dict[str, nn.Module]:
    """Add the trial's adapters; returns the new modules by their path in the model."""
    configuration = configurations.read(trial.configuration)
    num_layers = encoders.num_layers(encoder)
    in_layers = configurations.in_layers(configuration, trial.layers, num_layers)
    add_adapter(encoder, name, in_layers)
    if encoder.dtype != torch.float32 and any(
        isinstance(m, LoRAMergedLinear) and name in m.loras for m in encoder.modules()
    ):
        raise TrainingError(
            f"{trial.configuration} cannot be trained in bf16 on this encoder, whose projection to "
            "queries, keys and values is one layer; use fp32"
        )
    encoder.base_model.train_adapter(name)  # only parameters that it trains require gradients
    modules = adapter_modules(encoder, name)
    known = {id(p) for module in modules.values() for p in module.parameters()}
    for place, parameter in encoder.base_model.named_parameters():
        if parameter.requires_grad and id(parameter) not in known:
            raise TrainingError(f"AdapterHub trains {place}, which is in no module of the adapter")
    return modules


def adapter_modules(encoder: PreTrainedModel, name: str) -> dict[str, nn.Module]:
    """All modules that AdapterHub has added for an adapter, by their path in the model."""
    named = {place: m for place, m in encoder.named_modules() if place.split(".")[-1] == name}
    return {place.removesuffix(f".{name}").replace(".", "/"): m for place, m in named.items()}


def compute_in_float32(module: nn.Module, outside: torch.dtype) -> None:
    """Cast the module's inputs to float32, and its outputs back to the frozen layers' type."""

    def inward(_: nn.Module, args: Any, kwargs: Any) -> Any:
        return _cast((args, kwargs), torch.float32)

    module.register_forward_pre_hook(inward, with_kwargs=True)
    module.register_forward_hook(lambda _, args, output: _cast(output, outside))


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Nested values with all floating-point tensors cast to ``dtype``."""
    return tree_map_only(Tensor, lambda x: x.to(dtype) if x.is_floating_point() else x, values)


def add_adapter(
    encoder: PreTrainedModel, name: str, config: AdapterConfig, expected: bool = True
) -> None:
    """AdapterHub's ``add_adapter``, with a check: it silently adds nothing if no layer fits.

    Args:
        expected: whether the configuration must add parameters.

    Raises:
        TrainingError: it must add parameters and added none.
    """
    before = sum(p.numel() for p in encoder.parameters())
    encoder.add_adapter(name, config=config)
    if expected and sum(p.numel() for p in encoder.parameters()) == before:
        encoder.delete_adapter(name)
        raise TrainingError(
            f"the adapter configuration {type(config).__name__} adds no parameters to this model; "
            "if it extends linear layers, these must be AdapterHub's, not faster replacements"
        )
