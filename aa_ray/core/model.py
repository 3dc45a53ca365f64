"""A frozen BERT, and the trained parts of the trials that share it.

Each trial is a ``TrialModel``: ``AdaptableAdapter``s in its layers and a classifier. One BERT
serves one set of trials after the other. AdapterHub's own forward pass runs a trial's adapters when
they are set active; ``aa_ray.training.side_by_side`` computes the same faster.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, cast

import adapters
import torch
from adapters import AdapterConfig, SeqBnConfig
from torch import Tensor, nn
from transformers import BertForSequenceClassification

from aa_ray.core.adapter import (
    AdaptableAdapter,
    Identity,
    Switch,
    SwitchSettings,
    make_adaptable,
    sample_gumbel,
)
from aa_ray.core.coefficients import activation_name
from aa_ray.core.logs import only_errors
from aa_ray.core.rational import Rational
from aa_ray.errors import TrainingError
from aa_ray.trial import Trial


def load(path: str) -> BertForSequenceClassification:
    """The checkpoint (folder or hub name) in float32 on the CPU, with AdapterHub's hooks.

    Raises:
        TrainingError: it lacks weights of the encoder, which would be random.
    """
    # transformers warns that the checkpoint has no classifier, and that no layer is sharded.
    with only_errors("transformers.modeling_utils", "transformers.integrations.tensor_parallel"):
        model, loading = BertForSequenceClassification.from_pretrained(
            path, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    optional = ("classifier.", "bert.pooler")
    missing = [name for name in loading["missing_keys"] if not name.startswith(optional)]
    if missing:
        raise TrainingError(
            f"the checkpoint lacks {len(missing)} weights of its own configuration ({missing[0]}, "
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
        adapters: its bottlenecks, by layer (as text).
        layers: those with an adapter, ascending.
        rationals: layer -> its rational activation; empty for another activation.
        classifier: from the pooled output to the task's outputs.
        backbone: the BERT itself where the trial trains it, else None.
        generator: draws the trial's Gumbel noise and skipped layers. It is on the CPU, so that the
            draws depend on the seed alone, not on the device or on what trains beside it.
    """

    def __init__(
        self,
        trial: Trial,
        name: str,
        bottlenecks: dict[int, AdaptableAdapter],
        classifier: nn.Linear,
        backbone: nn.Module | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.trial = trial
        self.name = name
        self.adapters = nn.ModuleDict({str(i): module for i, module in bottlenecks.items()})
        self.classifier = classifier
        self.backbone = backbone
        # Needed in every layer of every step, so looked up once.
        self.layers = list(bottlenecks)
        self.rationals: dict[int, Rational] = {
            layer: module
            for layer, adapter in bottlenecks.items()
            for module in adapter.modules()
            if isinstance(module, Rational)
        }
        self.generator = generator

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Every trained parameter once: bottlenecks, then switches, then classifier and backbone.

        The order decides results: the gradient's norm is summed in it.
        """

        def place(named: tuple[str, nn.Parameter]) -> int:
            name, _ = named
            if not name.startswith("adapters."):
                return 2
            return 1 if name.endswith(".switch.logits") else 0

        return iter(sorted(super().named_parameters(*args, **kwargs), key=place))

    def adapter(self, layer: int) -> AdaptableAdapter:
        """The layer's bottleneck."""
        return cast(AdaptableAdapter, self.adapters[str(layer)])

    def switch(self, layer: int) -> Switch:
        """The layer's switch, of a switched trial."""
        return cast(Switch, self.adapter(layer).switch)

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
        used = [adapter for layer, adapter in self.adapters.items() if int(layer) >= first]
        return sum(p.numel() for adapter in used for p in adapter.parameters())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's three groups with the trial's rates: switches, rationals, all that is trained."""
        switched = self.layers if self.trial.switched else []
        logits = [self.switch(layer).logits for layer in switched]
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
    bert: BertForSequenceClassification, trials: Iterable[Trial], outputs: int
) -> list[TrialModel]:
    """Give the model the trials' adapters in place of earlier ones; each is drawn from its seed.

    ``outputs`` is the classifiers' width. Sets torch's global seed.

    Raises:
        TrainingError: a trial's adapters would have no parameters.
    """
    with only_errors("adapters.model_mixin"):  # it warns that no adapter is active
        bert.set_active_adapters(None)
    for name in list(bert.adapters_config):
        bert.delete_adapter(name)
    trial_models = [
        _trial_model(bert, trial, f"trial{k}", outputs) for k, trial in enumerate(trials)
    ]
    bert.requires_grad_(False)
    for trial_model in trial_models:
        trial_model.to(bert.device).requires_grad_(True)
    return trial_models


def _trial_model(
    bert: BertForSequenceClassification, trial: Trial, name: str, outputs: int
) -> TrialModel:
    torch.manual_seed(trial.seed)
    add_adapter(bert, name, _config(trial, bert.config.num_hidden_layers), bool(trial.layers))
    generator = torch.Generator().manual_seed(trial.seed)
    adaptable = make_adaptable(bert, name, _switch_settings(trial), generator)
    classifier = nn.Linear(bert.config.hidden_size, outputs)
    nn.init.normal_(classifier.weight, std=bert.config.initializer_range)
    nn.init.zeros_(classifier.bias)
    bottlenecks = dict(zip(trial.layers, adaptable, strict=True))
    backbone = bert.base_model if trial.fine_tunes else None
    return TrialModel(trial, name, bottlenecks, classifier, backbone, generator)


def add_adapter(
    bert: BertForSequenceClassification, name: str, config: AdapterConfig, expected: bool = True
) -> None:
    """AdapterHub's ``add_adapter``, which is silent where it finds no place for an adapter.

    Args:
        expected: whether the configuration has to add parameters.

    Raises:
        TrainingError: it was to add parameters and added none.
    """
    before = sum(p.numel() for p in bert.parameters())
    bert.add_adapter(name, config=config)
    if expected and sum(p.numel() for p in bert.parameters()) == before:
        bert.delete_adapter(name)
        raise TrainingError(
            f"the adapter configuration {type(config).__name__} adds no parameters to this model; "
            "if it extends linear layers, these must be AdapterHub's own, not faster ones in their "
            "place"
        )


def _config(trial: Trial, num_layers: int) -> SeqBnConfig:
    return SeqBnConfig(
        reduction_factor=trial.reduction_factor,
        non_linearity=non_linearity(trial),
        leave_out=[layer for layer in range(num_layers) if layer not in trial.layers],
    )


def _switch_settings(trial: Trial) -> SwitchSettings | None:
    if not trial.switched:
        return None
    identity = cast(Identity, trial.switch_identity)
    return SwitchSettings(trial.temperature, trial.switch_skip == "yes", identity)


def non_linearity(trial: Trial) -> str:
    """AdapterHub's name of the trial's activation, with the settings of a rational in it."""
    kind, _, init = trial.activation.partition(":")
    if kind != "rational":
        return trial.activation
    return activation_name(init, trial.denominator, trial.gradient_at_zero)
