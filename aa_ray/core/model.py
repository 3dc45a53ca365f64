"""A frozen BERT, and the trained parts of the trials that share it.

Each trial is a ``TrialModel``: AdapterHub's bottleneck adapters in its layers, switches, and a
classifier of its own. One BERT serves one set of trial_models after the other.
``aa_ray.training.side_by_side`` computes with them.
"""

import hashlib
import logging
from collections.abc import Iterable
from typing import Any, cast

import adapters
import torch
from adapters import SeqBnConfig
from torch import Tensor, nn
from transformers import BertForSequenceClassification
from transformers.utils import logging as transformers_logging

from aa_ray.core.adapter import Switch, sample_gumbel
from aa_ray.core.rational import Rational, activation_name
from aa_ray.errors import TrainingError
from aa_ray.trial import Trial

# Both libraries warn about a classifier without weights, and a moment without active adapter.
transformers_logging.set_verbosity_error()
logging.getLogger("adapters").setLevel(logging.ERROR)


def load(path: str) -> BertForSequenceClassification:
    """The checkpoint (folder or hub name) in float32 on the CPU, with AdapterHub's hooks.

    Raises:
        TrainingError: it lacks weights of the encoder, which would be random.
    """
    model, loading = BertForSequenceClassification.from_pretrained(
        path, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    random = [
        k for k in loading["missing_keys"] if not k.startswith(("classifier.", "bert.pooler"))
    ]
    if random:
        raise TrainingError(
            f"the checkpoint lacks {len(random)} weights of its own configuration ({random[0]}, "
            "...); copy it again"
        )
    adapters.init(model)
    return model


def weights_hash(model: BertForSequenceClassification) -> str:
    """SHA-256 over names and values of the backbone's parameters, adapters left out."""
    digest = hashlib.sha256()
    for name, parameter in model.base_model.named_parameters():
        if ".adapters." not in name:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


class TrialModel(nn.Module):
    """One trial's trained parts on the shared backbone.

    Attributes:
        trial: the trial.
        name: of its adapter inside the model, for AdapterHub's own functions.
        adapters: AdapterHub's bottlenecks, by layer (as text).
        layers: those with an adapter, ascending.
        rationals: layer -> its rational activation; empty for another activation.
        switches: by layer (as text); empty unless the trial is switched.
        classifier: from the pooled [CLS] output to the task's outputs.
        backbone: the BERT itself where the trial trains it, else None.
        generator: draws the trial's Gumbel noise and skipped layers. It is on the CPU, so that the
            draws depend on the seed alone, not on the device or on what trains beside it.
    """

    def __init__(
        self,
        trial: Trial,
        name: str,
        bottlenecks: dict[int, nn.Module],
        classifier: nn.Linear,
        backbone: nn.Module | None,
    ) -> None:
        super().__init__()
        self.trial = trial
        self.name = name
        self.adapters = nn.ModuleDict({str(i): module for i, module in bottlenecks.items()})
        switched = bottlenecks if trial.switched else {}
        self.switches = nn.ModuleDict({str(layer): Switch() for layer in switched})
        self.classifier = classifier
        self.backbone = backbone
        # Looked at in every layer of every step, so found once.
        self.layers = list(bottlenecks)
        self.rationals: dict[int, Rational] = {
            layer: module
            for layer, adapter in bottlenecks.items()
            for module in adapter.modules()
            if isinstance(module, Rational)
        }
        self.generator = torch.Generator().manual_seed(trial.seed)

    def adapter(self, layer: int) -> Any:
        """AdapterHub's bottleneck of the layer."""
        return self.adapters[str(layer)]

    def switch(self, layer: int) -> Switch:
        """The layer's switch, of a switched trial."""
        return cast(Switch, self.switches[str(layer)])

    @property
    def selected(self) -> list[int] | None:
        """The layers whose switch picks the adapter; None without switches."""
        if not self.trial.switched:
            return None
        return [layer for layer in self.layers if self.switch(layer).selected]

    def draw_gumbel(self, batch: int, device: torch.device) -> dict[int, Tensor]:
        """Layer -> Gumbel noise [batch, 2] for one training step; empty without switches."""
        if not self.trial.switched or not self.layers:
            return {}
        noise = sample_gumbel((len(self.layers), batch, 2), self.generator)
        return dict(zip(self.layers, noise.to(device, non_blocking=True), strict=True))

    def parameters_in_use(self, first: int) -> int:
        """Number of parameters of adapters and switches from layer ``first`` on."""
        modules = [
            module
            for part in (self.adapters, self.switches)
            for layer, module in part.items()
            if int(layer) >= first
        ]
        return sum(p.numel() for module in modules for p in module.parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's three groups with the trial's rates: switches, rationals, all that is trained."""
        logits = list(self.switches.parameters())
        coefficients = [p for rational in self.rationals.values() for p in rational.parameters()]
        special = {id(p) for p in logits + coefficients}
        others = [p for p in self.parameters() if id(p) not in special]
        groups = [
            {"params": others, "lr": self.trial.learning_rate},
            {"params": coefficients, "lr": self.trial.rational_learning_rate},
            {"params": logits, "lr": self.trial.switch_learning_rate},
        ]
        return [group for group in groups if group["params"]]

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all trained parameters: adapters, rationals, switches and classifier."""
        return {name: p.detach().clone() for name, p in self.named_parameters()}

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Put a snapshot's values back."""
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in saved.items():
                parameters[name].copy_(value)


def attach(
    model: BertForSequenceClassification, trials: Iterable[Trial], outputs: int
) -> list[TrialModel]:
    """Give the model the trials' adapters in place of earlier ones; each is drawn from its seed.

    ``outputs`` is the classifiers' width. Sets torch's global seed.
    """
    for name in list(model.adapters_config):
        model.delete_adapter(name)
    trial_models = [
        _trial_model(model, trial, f"trial{k}", outputs) for k, trial in enumerate(trials)
    ]
    model.set_active_adapters(None)
    model.requires_grad_(False)
    for trial_model in trial_models:
        trial_model.to(model.device).requires_grad_(True)
    return trial_models


def _trial_model(
    model: BertForSequenceClassification, trial: Trial, name: str, outputs: int
) -> TrialModel:
    torch.manual_seed(trial.seed)
    num_layers = model.config.num_hidden_layers
    config = SeqBnConfig(
        reduction_factor=trial.reduction_factor,
        non_linearity=non_linearity(trial),
        leave_out=[layer for layer in range(num_layers) if layer not in trial.layers],
    )
    model.add_adapter(name, config=config)
    blocks = model.base_model.encoder.layer
    bottlenecks = {layer: blocks[layer].output.adapters[name] for layer in trial.layers}
    classifier = nn.Linear(model.config.hidden_size, outputs)
    nn.init.normal_(classifier.weight, std=model.config.initializer_range)
    nn.init.zeros_(classifier.bias)
    backbone = model.base_model if trial.fine_tunes else None
    return TrialModel(trial, name, bottlenecks, classifier, backbone)


def non_linearity(trial: Trial) -> str:
    """AdapterHub's name of the trial's activation, with the settings of a rational in it."""
    kind, _, init = trial.activation.partition(":")
    if kind != "rational":
        return trial.activation
    return activation_name(init, trial.denominator, trial.gradient_at_zero)
