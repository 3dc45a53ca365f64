"""The card of an exported adapter: README.md as the Hugging Face hub shows it."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from aa_ray.commands.export import adapter_name
from aa_ray.commands.trained import Trained
from aa_ray.core import architectures
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.glue import HUB_DATASET
from aa_ray.data.own_files import Hub
from aa_ray.data.tasks import Task
from aa_ray.report.text import listed
from aa_ray.store.rows import Row
from aa_ray.trial import Trial

PAPER = "https://aclanthology.org/2022.naacl-main.274/"


# The argument of ``load_adapter`` in the card, until the adapter has a repository on the hub.
PLACE = "path/to/this/folder"


def text(trained: Trained, row: Row, backbone: Backbone, remark: str = "") -> str:
    """The card of an adapter.

    Args:
        row: row of the training run that produced the weights.
        remark: note on the scores, for example that an earlier training run had different ones.
    """
    trial, task = trained.trial, tasks.get(trained.trial.task)
    method = architectures.METHODS.get(row["method"])
    title = f"{method.title} ({row['method']})" if method else row["method"]
    parts = [
        f"---\n{_metadata(trained, row, backbone, task).to_yaml()}\n---",
        f"# Adapter `{adapter_name(row)}` for {_backbone(backbone)}",
        f"An [AdapterHub](https://adapterhub.ml) adapter with its head, for {task.title}, trained "
        f"by aa-ray, a reproduction of [Adaptable Adapters]({PAPER}). Architecture: {title}; "
        f"{_architecture(trained)}",
        "## How to load",
        f"```python\n{_code(trained, backbone)}\n```",
        "\n".join([*_labels(task), f"Inputs are cut to {trial.max_length} tokens."]),
        "## Scores",
        _scores(row, task, remark),
        "## Training",
        _settings(trained, row),
    ]
    if trained.rationals:
        parts += ["## Activations", _activations(trained)]
    return "\n\n".join(parts) + "\n"


def _metadata(trained: Trained, row: Row, backbone: Backbone, task: Task) -> ModelCardData:
    """The YAML front matter, which gives the hub tags, links and the table of scores."""
    name = config = None
    split: object = "test"
    if isinstance(task.origin, Hub):
        name, config, split = task.origin.name, task.origin.config, task.origin.test
    elif row["data_source"].startswith(HUB_DATASET):
        name, config, split = HUB_DATASET, task.name, task.test_split
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=name or row["data_source"],
            dataset_name=task.title,
            dataset_config=config,
            dataset_split=str(split),
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for metric, value in _measured(row)
    ]
    return ModelCardData(
        model_name=adapter_name(row),
        eval_results=results,
        base_model=backbone.hub_name,
        base_model_relation="adapter" if backbone.hub_name else None,
        datasets=[name] if name else None,
        metrics=[name for name, _ in _measured(row)],
        library_name="adapter-transformers",  # the hub's name of the library ``adapters``
        pipeline_tag="text-classification",
        tags=["adapter-transformers", backbone.kind, "adaptable-adapters"],
    )


def _measured(row: Row) -> list[tuple[str, float]]:
    return [(name, value) for name, value in row["test_metrics"].items() if value is not None]


def _backbone(backbone: Backbone) -> str:
    return backbone.hub_name or backbone.identity


def _architecture(trained: Trained) -> str:
    """The adapted layers and their adapters in words."""
    count, activation = trained.num_layers, trained.non_linearity
    if trained.trial.configuration:
        text = (
            f"AdapterHub configuration {trained.trial.configuration} in layers "
            f"{listed(trained.layers)} of {count} (counted from 0)"
        )
    elif activation is None:
        text = f"none of the {count} layers has a trained adapter"
    else:
        text = (
            f"adapters in layers {listed(trained.layers)} of {count} (counted from 0), activation "
            f"{activation}"
        )
    if trained.selected is not None:
        text += "; switches replaced by their choices"
    text += "."
    if trained.identities:
        text += (
            f" The switches of layers {listed(trained.identities)} did not choose the adapter. "
            "As in the released code, such a layer computes LN(LN(h+i) + h + i), which is stored "
            "here as a linear full-width bottleneck with identity matrices."
        )
    if trained.trial.inference_depths is not None:
        text += f" AdapterDrop, with the adapters of the last {trained.depth} layers."
    return text


def _code(trained: Trained, backbone: Backbone) -> str:
    """Python that loads the adapter and classifies a sentence."""
    activation = trained.non_linearity or ""
    lines = []
    if activation.startswith("rational:"):
        lines.append("import aa_ray  # registers the rational activation")
    elif trained.trial.pooling == "mean":
        lines.append("import aa_ray  # registers the head that reads the mean of all tokens")
    if "@" in activation:
        lines.append("from aa_ray import own")
        lines.append(f'own.load(["path/to/own.py"])  # the file that defines {activation}')
    lines += [
        "from adapters import AutoAdapterModel",
        "from transformers import AutoTokenizer",
        "",
        f'backbone = "{backbone.hub_name or _folder(backbone)}"',
        "tokenizer = AutoTokenizer.from_pretrained(backbone)",
        "model = AutoAdapterModel.from_pretrained(backbone)",
        f'model.load_adapter("{PLACE}", set_active=True)',
        "model.eval()",
        "",
    ]
    texts = ", ".join(f'"{column}"' for column in tasks.get(trained.trial.task).texts)
    lines += [
        f"inputs = tokenizer({texts}, truncation=True, "
        f'max_length={trained.trial.max_length}, return_tensors="pt")',
        "print(model(**inputs).logits)",
    ]
    return "\n".join(lines)


def _folder(backbone: Backbone) -> str:
    """A placeholder for the path on the machine where the adapter was trained."""
    return f"path/to/{backbone.identity.partition('@')[0]}"


def _labels(task: Task) -> list[str]:
    if task.regression:
        return ["The one logit is the predicted score."]
    if task.labels:
        named = ", ".join(f"{i} = {label}" for i, label in enumerate(task.labels))
        return [f"The largest logit decides; classes: {named}."]
    return [f"The largest logit decides; classes 0 to {task.classes - 1} as in the data."]


def _scores(row: Row, task: Task, remark: str) -> str:
    lines = ["| metric | test set |", "|---|---:|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in _measured(row)]
    lines.append(
        f"\nDevelopment {task.metrics[0]} {row['dev_metric']:.4f} in epoch {row['best_epoch']} of "
        f"{row['epochs']}, whose weights these are. This is one training run with one seed; the "
        "spread over seeds is larger than most differences between methods."
    )
    if row["data_source"].startswith("embedded"):
        lines.append("\nThe data are generated sentences; the scores say nothing about language.")
    if remark:
        lines.append(f"\n{remark}")
    return "\n".join(lines)


def _settings(trained: Trained, row: Row) -> str:
    trial = trained.trial
    shown: list[tuple[str, Any]] = [
        ("data", f"{row['data_source']}, {trial.task}"),
        ("annotated examples", f"{trial.regime} (75 % to train on, 25 % development set)"),
        ("seed", trial.seed),
        ("backbone", f"{backbone_line(row)}, frozen, {trial.precision}"),
        ("trained parameters", f"{row['trainable_parameters']:,}"),
        ("learning rates", rates(trial)),
        ("epochs, batch size", f"{trial.epochs}, {trial.batch_size}"),
        ("trial", row["trial_id"]),
        (
            "code",
            f"aa-ray at commit {row['commit'] or 'unknown'}" + " with changes" * bool(row["dirty"]),
        ),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown)]
    lines.append("\nAll settings are in `trial.json`.")
    return "\n".join(lines)


def backbone_line(row: Row) -> str:
    return f"{row['backbone']} (SHA-256 of its weights {row['backbone_sha256'][:12]})"


def rates(trial: Trial) -> str:
    """The learning rates that the trial uses."""
    parts = [f"{trial.learning_rate:g} (adapters, classifier)"]
    if trial.rational:
        parts.append(f"{trial.rational_learning_rate:g} (rationals)")
    if trial.switched:
        parts.append(f"{trial.switch_learning_rate:g} (switches)")
    return ", ".join(parts)


def _activations(trained: Trained) -> str:
    version = trained.trial.denominator
    q = "1 + |b1 x| + ... + |b4 x^4|" if version == "A" else "1 + |b1 x + ... + b4 x^4|"
    lines = [
        f"R(x) = (a0 + a1 x + ... + a5 x^5) / ({q}), as learned per layer; also in "
        "`rationals.json`.\n",
        "| layer | a0 ... a5 | b1 ... b4 |",
        "|---|---|---|",
    ]
    for layer, coefficients in trained.rationals.items():
        a, b = ([f"{v:.4g}" for v in coefficients[part]] for part in ("numerator", "denominator"))
        lines.append(f"| {layer} | {' '.join(a)} | {' '.join(b)} |")
    return "\n".join(lines)
