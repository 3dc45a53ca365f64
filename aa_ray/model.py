"""A frozen BERT with AdapterHub's bottleneck adapters, switches, rationals and a classifier.

One model object serves trial after trial: ``attach`` replaces adapters and classifier and leaves
the backbone as it is.
"""

import hashlib
import logging
from typing import Any

import adapters
import torch
from adapters import SeqBnConfig
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from aa_ray.frozen_linear import replace_linears
from aa_ray.rational import Rational, activation_name
from aa_ray.switch import Switch
from aa_ray.trial import Trial

# Name of the adapter inside the model.
ADAPTER_NAME = "trial"

# Both libraries warn about a classifier without weights, and a moment without active adapter.
transformers_logging.set_verbosity_error()
logging.getLogger("adapters").setLevel(logging.ERROR)


def load(
    path: str, device: torch.device | str = "cpu", frozen: bool = True
) -> BertForSequenceClassification:
    """The checkpoint (folder or hub name) with AdapterHub's hooks.

    A frozen one, on the CPU, has its linear layers replaced by faster ones without weight gradient.
    """
    model = BertForSequenceClassification.from_pretrained(path, use_safetensors=True)
    adapters.init(model)
    model.requires_grad_(not frozen)
    model.to(device)
    if frozen and model.device.type == "cpu":
        replace_linears(model.base_model)
    return model


def weights_hash(model: BertForSequenceClassification) -> str:
    """SHA-256 over names and values of the backbone's parameters, adapters left out."""
    digest = hashlib.sha256()
    for name, parameter in model.base_model.named_parameters():
        if f".{ADAPTER_NAME}." not in name:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def attach(model: BertForSequenceClassification, trial: Trial, outputs: int) -> None:
    """Give the model the trial's adapters and a new classifier, drawn from the trial's seed.

    ``outputs`` is the classifier's width. Sets torch's global seed.
    """
    torch.manual_seed(trial.seed)
    if ADAPTER_NAME in model.adapters_config:
        model.delete_adapter(ADAPTER_NAME)
    num_layers = model.config.num_hidden_layers
    config = SeqBnConfig(
        reduction_factor=trial.reduction_factor,
        non_linearity=_non_linearity(trial),
        leave_out=[layer for layer in range(num_layers) if layer not in trial.layers],
    )
    model.add_adapter(ADAPTER_NAME, config=config)
    model.set_active_adapters(ADAPTER_NAME)
    if trial.switched:
        for layer in trial.layers:
            modules = _output(model, layer).adapters
            modules[ADAPTER_NAME] = Switch(
                modules[ADAPTER_NAME],
                trial.temperature,
                skip=trial.switch_skip == "yes",
                plain_identity=trial.switch_identity == "plain",
            )

    model.num_labels = model.config.num_labels = outputs
    model.classifier = nn.Linear(model.config.hidden_size, outputs)
    nn.init.normal_(model.classifier.weight, std=model.config.initializer_range)
    nn.init.zeros_(model.classifier.bias)

    model.requires_grad_(trial.fine_tunes)
    for module in [*bottlenecks(model).values(), model.classifier]:
        module.to(model.device).requires_grad_(True)


def _non_linearity(trial: Trial) -> str:
    """AdapterHub's name of the trial's activation, with the settings of a rational in it."""
    kind, _, init = trial.activation.partition(":")
    if kind != "rational":
        return trial.activation
    return activation_name(init, trial.denominator, trial.gradient_at_zero)


def keep_last(model: BertForSequenceClassification, depth: int) -> None:
    """Use the adapters of the last ``depth`` layers only, and skip the others (AdapterDrop)."""
    dropped = list(range(model.config.num_hidden_layers - depth))
    model.set_active_adapters(ADAPTER_NAME, skip_layers=dropped)


def kept(model: BertForSequenceClassification) -> int:
    """The number of layers, from the top, whose adapters are not skipped."""
    return model.config.num_hidden_layers - len(model.adapters_config.skip_layers or ())


def _output(model: BertForSequenceClassification, layer: int) -> Any:
    return model.base_model.encoder.layer[layer].output


def bottlenecks(model: BertForSequenceClassification) -> dict[int, nn.Module]:
    """Layer -> its adapter (or switch around one), for the layers that have one."""
    every = ((i, _output(model, i).adapters) for i in range(model.config.num_hidden_layers))
    return {layer: modules[ADAPTER_NAME] for layer, modules in every if ADAPTER_NAME in modules}


def switches(model: BertForSequenceClassification) -> dict[int, Switch]:
    """Layer -> its switch, for the layers that have one."""
    return {i: m for i, m in bottlenecks(model).items() if isinstance(m, Switch)}


def rationals(model: BertForSequenceClassification) -> dict[int, Rational]:
    """Layer -> its rational activation, for the layers that have one."""
    return {
        layer: module
        for layer, bottleneck in bottlenecks(model).items()
        for module in bottleneck.modules()
        if isinstance(module, Rational)
    }


def trained_parameters(model: BertForSequenceClassification) -> dict[str, nn.Parameter]:
    """Name -> parameter, for those that training changes."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def parameter_groups(model: BertForSequenceClassification, trial: Trial) -> list[dict[str, Any]]:
    """Adam's three groups with the trial's rates: switches, rationals, all else that is trained."""
    logits = [switch.logits for switch in switches(model).values()]
    coefficients = [p for rational in rationals(model).values() for p in rational.parameters()]
    special = {id(p) for p in logits + coefficients}
    others = [p for p in trained_parameters(model).values() if id(p) not in special]
    groups = [
        {"params": others, "lr": trial.learning_rate},
        {"params": coefficients, "lr": trial.rational_learning_rate},
        {"params": logits, "lr": trial.switch_learning_rate},
    ]
    return [group for group in groups if group["params"]]


def snapshot(model: BertForSequenceClassification) -> dict[str, Tensor]:
    """A copy of all trained parameters: adapters, rationals, switches and classifier."""
    return {name: p.detach().clone() for name, p in trained_parameters(model).items()}


def restore(model: BertForSequenceClassification, saved: dict[str, Tensor]) -> None:
    """Put a snapshot's values back."""
    parameters = trained_parameters(model)
    with torch.no_grad():
        for name, value in saved.items():
            parameters[name].copy_(value)
