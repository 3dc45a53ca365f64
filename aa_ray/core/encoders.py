"""The encoders that a study can adapt, and their properties.

A study can adapt an encoder if AdapterHub can add bottlenecks to it and transformers has a
classifier for it. All other properties are read from the model itself, built without weights from
its configuration.
"""

from typing import Any, NamedTuple

from aa_ray.core.logs import only_errors
from aa_ray.errors import UsageError

# Model type -> its twin. AdapterHub does not know the type by name, but its modules are copies of
# the twin's.
SAME_MODULES = {"camembert": "roberta"}

# Model types with BERT's layers, which the fused engine computes.
BERT_LAYERS = ("bert", "camembert", "electra", "roberta", "xlm-roberta")


# Encoders whose output AdapterHub changes even without an adapter, and why.
CHANGED = {"xmod": "AdapterHub removes its language modules"}


class Shape(NamedTuple):
    """The properties of an encoder.

    Attributes:
        num_layers: layers that can have separate adapters, as AdapterHub counts them. ALBERT
            reuses the weights of one layer (or of a few groups); these count once.
        hidden_size: their width.
        passes: how often each layer is run; 1 except for ALBERT.
        pooler: whether transformers classifies through a pooler that is part of the encoder.
        fused: whether the fused engine can compute its layers.
        parameters: number of weights of the encoder; None if they have not been counted.
        kind: transformers' name of the architecture.
    """

    num_layers: int
    hidden_size: int
    passes: int = 1
    pooler: bool = True
    fused: bool = True
    parameters: int | None = None
    kind: str = "bert"


def read_config(path: str) -> Any:
    """The configuration of a folder or hub name; a type in ``SAME_MODULES`` becomes its twin.

    Raises:
        OSError, ValueError: it does not exist, or transformers does not know the type.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(path)
    if hasattr(config, "reference_compile"):
        # On a GPU, ModernBERT would compile itself, which takes over a minute and fails on an H100.
        # Saved configurations do not say.
        config.reference_compile = False
    twin = SAME_MODULES.get(config.model_type)
    if twin is None:
        return config
    fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
    return CONFIG_MAPPING[twin](**fields)


def shape_of(config: Any, name: str) -> Shape:
    """The properties of the encoder with that configuration.

    Raises:
        UsageError: a study cannot adapt it; ``name`` is the user's name for it.
    """
    _check(config, name)
    model = skeleton(config)
    base, layers = model.base_model, num_layers(model)
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return Shape(
        layers,
        int(config.hidden_size),
        passes=int(config.num_hidden_layers) // layers,
        pooler=getattr(base, "pooler", None) is not None,
        fused=config.model_type in BERT_LAYERS and absolute,
        parameters=sum(p.numel() for p in base.parameters()),
        kind=config.model_type,
    )


def num_layers(encoder: Any) -> int:
    """Number of layers that can have separate adapters, as AdapterHub counts them."""
    return len(list(encoder.base_model.iter_layers()))


def skeleton(config: Any) -> Any:
    """Transformers' classifier with AdapterHub's hooks, without allocating its weights."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"), only_errors("transformers.modeling_utils"):
        model = AutoModelForSequenceClassification.from_config(config)
    init(model)
    return model


def init(model: Any) -> None:
    """Give the model AdapterHub's hooks without changing its output.

    AdapterHub replaces the joint projection to queries, keys and values of DeBERTa and ModernBERT
    by its own. The replacement has a random bias even if the original had none, which would change
    the frozen encoder in every process. This function undoes that.
    """
    import adapters

    without = {name for name, m in model.named_modules() if getattr(m, "bias", "") is None}
    adapters.init(model)
    for name, module in model.named_modules():
        if name in without:
            module.bias = None


def adaptable_types() -> list[str]:
    """The model types of encoders that AdapterHub adapts and transformers classifies with."""
    from adapters.models.auto.adapter_model import ADAPTER_MODEL_MAPPING_NAMES
    from adapters.wrappers.interfaces import CUSTOM_INTERFACES
    from transformers.models.auto import modeling_auto as auto

    with_bottlenecks = {
        *ADAPTER_MODEL_MAPPING_NAMES,
        *(name for name, i in CUSTOM_INTERFACES.items() if "bottleneck" in i.adapter_methods),
        *SAME_MODULES,
    }
    classifying = set(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    bidirectional = set(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    with_decoder = set(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    return sorted(with_bottlenecks & classifying & bidirectional - with_decoder - CHANGED.keys())


def _check(config: Any, name: str) -> None:
    """Refuse everything but the encoders of ``adaptable_types``."""
    from transformers.models.auto import modeling_auto as auto

    kind, types = config.model_type, adaptable_types()
    decoders = set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(
        auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    problem = None
    if getattr(config, "is_encoder_decoder", False):
        problem = f"{kind} is a sequence-to-sequence model"
    elif getattr(config, "is_decoder", False) or kind in decoders:
        problem = f"{kind} is a decoder-only model"
    elif kind in CHANGED:
        problem = f"{kind} cannot be adapted ({CHANGED[kind]})"
    elif kind not in types:
        problem = f"AdapterHub cannot adapt {kind}, or transformers cannot classify with it"
    if problem is not None:
        raise UsageError(
            f"--backbone {name}: {problem}; use an encoder of one of these types: "
            f"{', '.join(types)}"
        )


def check_loadable(path: str) -> None:
    """Refuse an encoder whose saved adapters would not run in stock ``AutoAdapterModel``.

    Raises:
        UsageError: AdapterHub has no such model, or gives it a random bias (see ``init``).
    """
    import adapters
    import torch
    from adapters.models.auto.adapter_model import ADAPTER_MODEL_MAPPING_NAMES
    from transformers import AutoConfig

    kind = AutoConfig.from_pretrained(path).model_type
    reason = f"AdapterHub's AutoAdapterModel does not know {kind}"
    if kind in ADAPTER_MODEL_MAPPING_NAMES:
        ours = skeleton(read_config(path))
        with torch.device("meta"), only_errors("transformers.modeling_utils"):
            theirs = adapters.AutoAdapterModel.from_config(ours.config)
        names, their_names = (
            {name for name, _ in m.base_model.named_parameters() if not name.startswith("pooler.")}
            for m in (ours, theirs)
        )
        if names == their_names:
            return
        reason = f"AdapterHub's AutoAdapterModel gives {kind} a random bias that it does not have"
    raise UsageError(
        f"{reason}, so an adapter would not give the trial's predictions there; it cannot be saved"
    )


def missing_weights(config: Any, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The encoder's weights that a file lacks or holds in another shape.

    Args:
        shapes: name -> shape of every tensor in the file.
    """
    model = skeleton(config)
    prefix = f"{model.base_model_prefix}."
    stored = {_modern(name).removeprefix(prefix): tuple(shape) for name, shape in shapes.items()}
    return [
        name
        for name, parameter in model.base_model.named_parameters()
        if not name.startswith("pooler.") and stored.get(name) != tuple(parameter.shape)
    ]


def _modern(name: str) -> str:
    """The current name of a weight; old checkpoints call LayerNorm's gamma and beta."""
    stem, dot, last = name.rpartition(".")
    return stem + dot + {"gamma": "weight", "beta": "bias"}.get(last, last)
