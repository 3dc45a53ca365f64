"""A frozen encoder, and the trained parts of the trials that share it.

Each trial is a ``TrialModel``: its adapters in the encoder's layers, and a classifier. One encoder
serves one set of trials after another. AdapterHub's forward pass runs a trial's adapters once they
are active (``aa_ray.training.padded``). ``aa_ray.training.side_by_side`` computes the same faster
for BERT's layers.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from aa_ray.core import adaptable_config, encoders, heads, placement
from aa_ray.core.adapter import AdaptableAdapter, Switch, make_adaptable, sample_gumbel
from aa_ray.core.configured import add_adapter, add_configured, compute_in_float32
from aa_ray.core.logs import only_errors
from aa_ray.core.rational import Rational
from aa_ray.errors import TrainingError
from aa_ray.trial import Trial


def load(path: str) -> PreTrainedModel:
    """The checkpoint (folder or hub name) in float32 on the CPU, with AdapterHub's hooks.

    It is transformers' sequence classifier. Trials use only its encoder, and its ``dropout`` before
    each layer of their own classifiers.

    Raises:
        TrainingError: the checkpoint lacks weights of the encoder, which would be random, or holds
            NaN or infinity.
    """
    # transformers warns that the checkpoint has no classifier, and that no layer is sharded.
    with only_errors("transformers.modeling_utils", "transformers.integrations.tensor_parallel"):
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            path, config=encoders.read_config(path), use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    prefix = f"{model.base_model_prefix}."
    names = [name for name in loading["missing_keys"] if name.startswith(prefix)]
    missing = [name for name in names if not name.startswith(f"{prefix}pooler")]
    if missing:
        raise TrainingError(
            f"the checkpoint lacks {len(missing)} weights of its own configuration ({missing[0]}, "
            "...); copy it again"
        )
    for name, weight in model.base_model.named_parameters():
        if not weight.isfinite().all():
            raise TrainingError(
                f"the checkpoint's weights hold NaN or infinity ({name}); copy it again"
            )
    encoders.init(model)
    model.dropout = nn.Dropout(heads.head_dropout(model.config))
    return cast(PreTrainedModel, model)


def reads_segments(encoder: PreTrainedModel) -> bool:
    """Whether the encoder distinguishes the two texts of a pair by segment ids."""
    return getattr(_embeddings(encoder), "token_type_embeddings", None) is not None and (
        _embeddings(encoder).token_type_embeddings.num_embeddings > 1
    )


def first_position(encoder: PreTrainedModel) -> int:
    """The position of an example's first token: 0 in BERT, after padding's position in RoBERTa."""
    padding = padding_position(encoder)
    return 0 if padding is None else padding + 1


def padding_position(encoder: PreTrainedModel) -> int | None:
    """Padding's position (and token id) in encoders that count positions from it, as RoBERTa."""
    positions = getattr(_embeddings(encoder), "position_embeddings", None)
    return None if positions is None else positions.padding_idx


def most_tokens(encoder: PreTrainedModel) -> int | None:
    """Maximum number of tokens of an example; None if positions are relative."""
    positions = getattr(_embeddings(encoder), "position_embeddings", None)
    return None if positions is None else positions.num_embeddings - first_position(encoder)


def _embeddings(encoder: PreTrainedModel) -> Any:
    return encoder.base_model.embeddings


def weights_hash(model: PreTrainedModel) -> str:
    """SHA-256 over names and values of the backbone's parameters, without adapters."""
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
        name: name of its adapter inside the model, for AdapterHub's functions.
        adapters: its bottlenecks by layer (as text), or the modules of another AdapterHub
            configuration by their path in the model.
        layers: the layers with an adapter, ascending.
        rationals: layer -> the rational activation of its bottleneck; empty for other activations.
        classifier: maps the pooled output to the task's outputs; see ``aa_ray.core.heads``.
        backbone: the encoder if the trial trains it, else None.
        generator: draws the trial's Gumbel noise and skipped layers. It is on the CPU, so the
            draws depend on the seed alone, not on the device or on trials trained side by side.
    """

    def __init__(
        self,
        trial: Trial,
        name: str,
        modules: dict[str, nn.Module],
        classifier: nn.Module,
        backbone: nn.Module | None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.trial = trial
        self.name = name
        self.adapters = nn.ModuleDict(modules)
        self.classifier = classifier
        self.backbone = backbone
        # Needed in every layer of every step, so looked up once.
        self.layers = list(trial.layers)
        self.rationals: dict[int, Rational] = {
            int(layer): module
            for layer, adapter in modules.items()
            if isinstance(adapter, AdaptableAdapter)
            for module in adapter.modules()
            if isinstance(module, Rational)
        }
        self.generator = generator
        # Tensors that AdapterHub keeps fixed inside an adapter, such as VeRA's random matrices.
        self._fixed = {id(p) for p in self.adapters.parameters() if not p.requires_grad}

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Each trained parameter once: bottlenecks, then switches, then classifier and backbone.

        The order can change results: the gradient's norm is summed in this order.
        """

        def place(named: tuple[str, nn.Parameter]) -> int:
            name, _ = named
            if not name.startswith("adapters."):
                return 2
            return 1 if name.endswith(".switch.logits") else 0

        named = super().named_parameters(*args, **kwargs)
        return iter(sorted((pair for pair in named if id(pair[1]) not in self._fixed), key=place))

    def adapter(self, layer: int) -> AdaptableAdapter:
        """The layer's bottleneck."""
        return cast(AdaptableAdapter, self.adapters[str(layer)])

    def switch(self, layer: int) -> Switch:
        """The layer's switch, in a switched trial."""
        return cast(Switch, self.adapter(layer).switch)

    @property
    def selected(self) -> list[int] | None:
        """The layers whose switch picks the adapter; None without switches."""
        if not self.trial.switched:
            return None
        return [layer for layer in self.layers if self.switch(layer).selected]

    def draw_gumbel(self, batch: int, device: torch.device) -> dict[int, Tensor]:
        """Layer -> Gumbel noise [batch, 2] for one training step; empty without switches."""
        return self.by_layer(self.sample_gumbel(batch), device)

    def sample_gumbel(self, batch: int) -> Tensor | None:
        """Gumbel noise [layers, batch, 2] for one training step; None without switches."""
        if not self.trial.switched or not self.layers:
            return None
        return sample_gumbel((len(self.layers), batch, 2), self.generator)

    def by_layer(self, noise: Tensor | None, device: torch.device) -> dict[int, Tensor]:
        """Layer -> its slice of ``sample_gumbel``'s noise, on the device."""
        if noise is None:
            return {}
        return dict(zip(self.layers, noise.to(device, non_blocking=True), strict=True))

    def parameters_in_use(self, first: int) -> int:
        """Number of trained parameters of adapters and switches from layer ``first`` on."""
        unused = [self.adapter(layer) for layer in self.layers if layer < first]
        left_out = {id(p) for adapter in unused for p in adapter.parameters()} | self._fixed
        return sum(p.numel() for p in self.adapters.parameters() if id(p) not in left_out)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's groups with the trial's rates: switches, rationals, other trained parameters."""
        switched = self.layers if self.trial.switched else []
        logits = [self.switch(layer).logits for layer in switched]
        rationals = [m for m in self.adapters.modules() if isinstance(m, Rational)]
        coefficients = [p for rational in rationals for p in rational.parameters()]
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
        return {
            name: p.detach().clone(memory_format=torch.contiguous_format)
            for name, p in self.named_parameters()
        }

    def restore(self, saved: dict[str, Tensor]) -> None:
        """Restore the values of a snapshot."""
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in saved.items():
                parameters[name].copy_(value)


def remove_adapters(encoder: PreTrainedModel) -> None:
    """Remove all adapters from the model."""
    with only_errors("adapters.model_mixin"):  # it warns that no adapter is active
        encoder.set_active_adapters(None)
    for name in list(encoder.adapters_config):
        encoder.delete_adapter(name)


def attach(encoder: PreTrainedModel, trials: Iterable[Trial], outputs: int) -> list[TrialModel]:
    """Replace the model's adapters by those of these trials, each initialised from its seed.

    ``outputs`` is the width of the classifiers. Sets torch's global seed.

    Raises:
        TrainingError: a trial's adapters would have no parameters.
    """
    remove_adapters(encoder)
    trial_models = [
        _trial_model(encoder, trial, f"trial{k}", outputs) for k, trial in enumerate(trials)
    ]
    with only_errors("adapters.model_mixin"):
        encoder.set_active_adapters(None)
    encoder.requires_grad_(False)
    for trial_model in trial_models:
        trial_model.to(encoder.device).requires_grad_(True)
    return trial_models


def _trial_model(encoder: PreTrainedModel, trial: Trial, name: str, outputs: int) -> TrialModel:
    torch.manual_seed(trial.seed)
    generator = torch.Generator().manual_seed(trial.seed)
    if trial.configuration:
        modules = add_configured(encoder, trial, name)
    else:
        modules = _add_adaptable(encoder, trial, name, generator)
    if encoder.dtype != torch.float32:
        for module in modules.values():
            compute_in_float32(module, encoder.dtype)
    classifier = heads.make_classifier(encoder, trial.pooling, outputs)
    backbone = encoder.base_model if trial.fine_tunes else None
    return TrialModel(trial, name, modules, classifier, backbone, generator)


def _add_adaptable(
    encoder: PreTrainedModel, trial: Trial, name: str, generator: torch.Generator
) -> dict[str, nn.Module]:
    """The trial's adaptable bottlenecks, by layer."""
    config = adaptable_config.of_trial(trial)
    others = [i for i in range(encoders.num_layers(encoder)) if i not in trial.layers]
    add_adapter(encoder, name, config.plain(leave_out=others), bool(trial.layers))
    adaptable = make_adaptable(encoder, name, placement.switch_settings(config), generator)
    return {str(i): module for i, module in zip(trial.layers, adaptable, strict=True)}
