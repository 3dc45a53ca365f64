"""Exports a trained trial as an adapter in AdapterHub's format, which stock ``adapters`` loads.

``aa_ray.core.focus`` with ``exact`` replaces switches by their choices, so users get exactly the
predictions with which the trial was tested.
"""

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adapters import AutoAdapterModel
from torch import Tensor
from transformers import AutoTokenizer

from aa_ray.commands.trained import Trained
from aa_ray.core import adaptable_config, configurations, configured, focus, heads, model
from aa_ray.core.adapter import bottleneck_layers
from aa_ray.core.backbones import Backbone
from aa_ray.core.engines import AUTO, engine_for
from aa_ray.data import batches, tasks
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Official
from aa_ray.data.tasks import Task
from aa_ray.errors import SweepError, UsageError
from aa_ray.store.rows import Row
from aa_ray.training.context import TrialContext
from aa_ray.training.engine import make
from aa_ray.trial import Trial

# The file that identifies the trial of the adapter in a folder.
ABOUT = "trial.json"
# The coefficients of the rationals, if there are any.
COEFFICIENTS = "rationals.json"

# Number of examples on which an adapter is compared with the trial, and the allowed difference of
# logits relative to the largest one (or 1). Rounding is far below it, a wrong layer far above.
CHECKED_EXAMPLES = 64
TOLERANCE = 1e-3


def check_expressible(trial: Trial) -> None:
    """Refuse a trial that no adapter of stock AdapterHub can express.

    Raises:
        UsageError: it trains the backbone, or has no skip connection in its adapters.
    """
    if trial.fine_tunes:
        raise UsageError(
            "this trial trains the whole backbone (empty_selection=full), so it has no adapter to "
            "save"
        )
    if trial.switched and trial.layers and trial.switch_skip == "no":
        raise UsageError(
            "with switch_skip=no an adapter has no skip connection, but AdapterHub's bottleneck "
            "always has one, so this trial cannot be saved; omit switch_skip=no"
        )


def check_folder(folder: Path) -> None:
    """Refuse a folder with other contents than an adapter from an earlier export.

    Raises:
        UsageError: it has other contents, or it is not a folder.
    """
    if folder.is_dir():
        if any(folder.iterdir()) and not (folder / ABOUT).is_file():
            raise UsageError(f"{folder} is not empty and holds no adapter of aa_ray; use another")
    elif folder.exists():
        raise UsageError(f"{folder} is a file; name a folder for the adapter")


def about(folder: Path) -> dict[str, Any] | None:
    """The record of ``write`` in the folder; None without a complete adapter.

    The card may have been edited since; all other files must be unchanged.
    """
    try:
        notes = json.loads((folder / ABOUT).read_text("utf-8"))
        files = dict(notes["sha256"])
        whole = bool(files) and all(_sha256(folder / name) == files[name] for name in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return notes if whole else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(
    folder: Path,
    trained: Trained,
    row: Row,
    backbone: Backbone,
    card: str,
    check: Callable[[Path], object] = lambda folder: None,
) -> None:
    """Write adapter, head, card, settings and coefficients; creates the folder if necessary.

    The files are written to a folder inside it, checked, and then moved. Their checksums are moved
    last, so that ``about`` does not accept an interrupted export as complete.

    Args:
        row: row of the training run that produced the weights.
        card: the text of README.md.
        check: called with a folder of the new files before they are moved; may raise.

    Raises:
        UsageError: the folder cannot be written to, or has other contents.
    """
    check_folder(folder)
    temporary = folder / f".{uuid.uuid4().hex}.part"
    try:
        temporary.mkdir(parents=True)
        _write_files(temporary, trained, row, backbone, card)
        check(temporary)
        _move_files(temporary, folder)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as a RuntimeError.
        if not isinstance(error, OSError) and "PytorchStreamWriter" not in str(error):
            raise
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{folder}: cannot be written ({why}); free some space or use another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_files(temporary: Path, folder: Path) -> None:
    """Move the files, replacing those of an earlier export; other files in the folder stay."""
    if not (folder / ABOUT).exists():
        (folder / ABOUT).write_text("{}\n", "utf-8")  # marks the folder as an export from now on
    paths = sorted(temporary.iterdir(), key=lambda path: path.name == ABOUT)
    for path in paths:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        path.replace(folder / path.name)
    if COEFFICIENTS not in {path.name for path in paths}:
        (folder / COEFFICIENTS).unlink(missing_ok=True)


def _write_files(folder: Path, trained: Trained, row: Row, backbone: Backbone, card: str) -> None:
    """Write all files; the last one describes them and holds their checksums."""
    name = adapter_name(row)
    stock = build(trained, backbone, tasks.get(trained.trial.task), name)
    scores = {k: v for k, v in row["test_metrics"].items() if v is not None}
    notes = {
        "trial_id": trained.trial.id,
        "depth": trained.depth,
        "method": row["method"],
        "adapter_layers": trained.layers,
        "identity_layers": trained.identities,
        "best_epoch": row["best_epoch"],
        "dev_metric": row["dev_metric"],
        "test_metrics": scores,
        "settings": json.loads(trained.trial.to_json()),
        "versions": json.loads(row["versions"]),
        "commit": row["commit"],
    }
    stock.save_adapter(str(folder), name)
    if trained.rationals:
        text = json.dumps(trained.rationals, indent=2) + "\n"
        (folder / COEFFICIENTS).write_text(text, "utf-8")
    notes["sha256"] = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / "README.md").write_text(card, "utf-8")
    (folder / ABOUT).write_text(json.dumps(notes, indent=2) + "\n", "utf-8")


def adapter_name(row: Row) -> str:
    """AdapterHub's name for the adapter and its head."""
    return f"{row['task']}-{row['method']}"


def build(trained: Trained, backbone: Backbone, task: Task, name: str) -> Any:
    """A stock AdapterHub model with the adapter, not active, and its head."""
    stock = AutoAdapterModel.from_pretrained(backbone.path, dtype=torch.float32)
    stock.config.name_or_path = backbone.hub_name or backbone.identity  # not a local path
    focus.add_adapter(stock, name, _config(trained))
    labels = dict(enumerate(task.labels)) if task.labels else None
    heads.add_head(stock, name, task.outputs, labels, trained.trial.pooling, backbone.pooler)
    head = stock.heads[name]
    modules: dict[str, Any] = {"classifier": head if len(heads.linears(head)) > 1 else head[-1]}
    if trained.trial.configuration:
        added = configured.adapter_modules(stock, name)
        modules |= {f"adapters.{place}": module for place, module in added.items()}
    else:
        bottlenecks = bottleneck_layers(stock, name)
        modules |= {f"adapters.{b.layer_idx}": b.adapters[name] for b in bottlenecks}
    with torch.no_grad():
        for prefix, module in modules.items():
            for part, parameter in module.named_parameters():
                # Tensors that AdapterHub keeps fixed inside an adapter are not trained weights.
                if (value := trained.weights.get(f"{prefix}.{part}")) is not None:
                    parameter.copy_(value)
    if not trained.trial.configuration:
        focus.focus(stock, name, exact=True)
    return stock


def _config(trained: Trained) -> Any:
    """AdapterHub's configuration of the adapter."""
    trial = trained.trial
    if trial.configuration:
        configuration = configurations.read(trial.configuration)
        return configurations.in_layers(configuration, trial.layers, trained.num_layers)
    config = adaptable_config.of_trial(trial)
    if not config.switched:  # AdapterDrop only uses the last layers
        config = config.replace(layers=trained.layers)
    return config


def check(folder: Path, trained: Trained, backbone: Backbone, official: Official) -> int:
    """Load the folder as users will, and compare it with the trial on test examples.

    Returns:
        The number of examples compared.

    Raises:
        SweepError: the predictions differ by more than rounding.
    """
    task = tasks.get(trained.trial.task)
    table = official.test.slice(0, CHECKED_EXAMPLES)
    tokenizer = AutoTokenizer.from_pretrained(backbone.path)
    encoder = model.load(backbone.path)
    most = trained.trial.max_length
    most = min(most, model.most_tokens(encoder) or most)
    segments = model.reads_segments(encoder)
    examples = batches.tokenise(table, task, tokenizer, most, segments)
    expected = _of_trial(trained, encoder, backbone, task, examples)
    logging.disable(logging.WARNING)  # AdapterHub warns about what is intended here
    try:
        stock = AutoAdapterModel.from_pretrained(backbone.path, dtype=torch.float32)
        stock.load_adapter(str(folder), set_active=True)
    finally:
        logging.disable(logging.NOTSET)
    stock.eval()
    inputs = {"input_ids": examples.id_lists()}
    if segments:
        inputs["token_type_ids"] = examples.segment_lists()
    with torch.inference_mode():
        predicted = stock(**tokenizer.pad(inputs, return_tensors="pt")).logits
    difference = (predicted - expected).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
        raise SweepError(
            f"{folder}: loaded by AdapterHub, its predictions differ from the trial's (logits by "
            f"up to {difference:.2g}); do not use it"
        )
    return len(examples)


def _of_trial(
    trained: Trained, encoder: Any, backbone: Backbone, task: Task, examples: Examples
) -> Tensor:
    """The trial's own logits [n, outputs], in float32."""
    [trial_model] = model.attach(encoder, [trained.trial], task.outputs)
    trial_model.restore(trained.weights)
    encoder.eval()
    name = engine_for(AUTO, backbone, trained.trial.configuration)
    engine = make(name, encoder)
    batch, _ = engine.pack([examples], [np.arange(len(examples))])
    context = TrialContext(trial_model, trained.num_layers - trained.depth)
    with torch.inference_mode():
        return engine.forward(batch, [context], shared=True)[0]
