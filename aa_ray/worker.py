"""Runs trials one after another on one copy of the backbone, and turns outcomes into rows."""

import traceback
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from aa_ray import batches, model, provenance, tasks, training
from aa_ray.backbones import Backbone
from aa_ray.batches import Examples
from aa_ray.checkpoints import Checkpoint, CheckpointError
from aa_ray.data import Source, fingerprint, split
from aa_ray.results import Row
from aa_ray.storage import Folder, StorageError
from aa_ray.training import Evaluation, Outcome, State
from aa_ray.trial import Trial


class Worker:
    """One process's backbone, tokeniser and tokenised test sets.

    Args:
        backbone: the frozen encoder of every trial given to ``run``.
        source: where their examples come from.
        commit: commit and dirty flag to record, as known to the process that planned the trials.
        folder: the results folder, where interrupted trials are continued from; None keeps nothing.

    Attributes:
        remarks: what the user should hear of the last trial, apart from its rows.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: Source,
        commit: tuple[str | None, bool | None],
        folder: Folder | None = None,
    ) -> None:
        self.remarks: list[str] = []
        self._folder = folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._backbone = backbone
        self._source = source
        self._tests: dict[str, Examples] = {}
        self._constant = {
            "backbone": backbone.identity,
            "num_layers": backbone.num_layers,
            "host": provenance.host(),
            "hosts": [provenance.host()],
            "resumed_after": [],
            "device": provenance.device_name(self.device),
            "commit": commit[0],
            "dirty": commit[1],
            "versions": provenance.versions(),
        }

    @cached_property
    def _bert(self) -> BertForSequenceClassification:
        """Loaded with the first trial, so that a failure is in that trial's row."""
        return model.load(self._backbone.path, self.device)

    @cached_property
    def _sha256(self) -> str:
        return model.weights_hash(self._bert)

    @cached_property
    def _tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self._backbone.path)

    def run(self, trial: Trial, method: str) -> list[Row]:
        """The trial's rows: one per inference depth, or one with the error if it failed.

        Raises:
            StorageError: its checkpoint cannot be written.
        """
        self.remarks = []
        common: Row = {
            **self._constant,
            "trial_id": trial.id,
            "method": method,
            "task": trial.task,
            "regime": trial.regime,
            "seed": trial.seed,
            "data_source": trial.data,
            "settings": trial.to_json(),
            "started_at": _now(),
        }
        provenance.reset_peak_memory(self.device)
        try:
            resumed, checkpoint = self._resume(trial, common)
            fingerprint_, outcome = self._train(trial, resumed, checkpoint)
        except StorageError:
            raise
        except Exception as error:  # whatever goes wrong in one trial must not stop the others
            return [common | {"status": "failed", "error": _one_line(error), "finished_at": _now()}]
        common |= {
            "status": "finished",
            "backbone_sha256": self._sha256,
            "data_fingerprint": fingerprint_,
            "metric_name": tasks.get(trial.task).metrics[0],
            "trainable_parameters": outcome.trainable_parameters,
            "epochs": trial.epochs,
            "train_seconds": outcome.train_seconds,
            "peak_memory_bytes": provenance.peak_memory_bytes(self.device),
            "finished_at": _now(),
            **self._histories(outcome),
        }
        depths = outcome.history[-1].development
        pairs = zip(depths, outcome.evaluations, strict=True)
        return [
            common | _evaluated(outcome, depth, result) | self._histograms(result)
            for depth, result in pairs
        ]

    def _resume(self, trial: Trial, common: Row) -> tuple[State | None, Checkpoint | None]:
        """Where an interrupted run of the trial had come to; notes in the row who worked on it."""
        if self._folder is None:
            return None, None
        checkpoint = Checkpoint(self._folder, trial)
        try:
            state = checkpoint.load()
        except CheckpointError as error:
            self.remarks.append(
                f"{trial.task} {trial.regime} seed {trial.seed}: its checkpoint does not load "
                f"({error}); it starts anew"
            )
            state = None
        if state is not None:
            common["hosts"] = [*checkpoint.extra["hosts"], self._constant["host"]]
            common["resumed_after"] = [*checkpoint.extra["resumed_after"], len(state.history) - 1]
        checkpoint.extra = {name: common[name] for name in ("hosts", "resumed_after")}
        return state, checkpoint

    def _train(
        self, trial: Trial, resumed: State | None, checkpoint: Checkpoint | None
    ) -> tuple[str, Outcome]:
        task = tasks.get(trial.task)
        splits = split(self._source.load(trial.task), trial.regime, trial.seed)
        train, development = (
            batches.tokenise(table, task, self._tokenizer, trial.max_length)
            for table in (splits.train, splits.development)
        )
        key = f"{trial.task} {trial.max_length}"
        if key not in self._tests:
            self._tests[key] = batches.tokenise(
                splits.test, task, self._tokenizer, trial.max_length
            )
        bert = self._bert
        if trial.fine_tunes:  # on a copy of its own, since it changes the backbone
            bert = model.load(self._backbone.path, self.device, frozen=False)
        outcome = training.run(
            trial, task, bert, train, development, self._tests[key],
            resumed=resumed, keeper=checkpoint,
        )  # fmt: skip
        return fingerprint(splits), outcome

    def _histograms(self, result: Evaluation) -> Row:
        """What the rationals saw, [num_layers]."""
        found = {layer: h._asdict() for layer, h in result.input_histograms.items()}
        layers = range(self._backbone.num_layers)
        return {"input_histograms": [found.get(layer) for layer in layers] if found else None}

    def _histories(self, outcome: Outcome) -> Row:
        """Per-epoch switch logits and rational coefficients, [epochs + 1][num_layers][k]."""

        def history(name: str) -> list[list[Any]] | None:
            epochs = [getattr(epoch, name) for epoch in outcome.history]
            if not epochs[0]:
                return None
            return [
                [values.get(layer) for layer in range(self._backbone.num_layers)]
                for values in epochs
            ]

        return {
            "switch_logits": history("logits"),
            "numerators": history("numerators"),
            "denominators": history("denominators"),
        }


def _evaluated(outcome: Outcome, depth: int, result: Evaluation) -> Row:
    """The columns that differ between the inference depths of one training."""
    metric = next(iter(result.test))
    return {
        "dev_metric": result.development[metric],
        "test_metric": result.test[metric],
        "test_metrics": result.test,
        "adapter_layers": result.adapter_layers,
        "selected_layers": result.selected_layers,
        "final_selected_layers": result.final_selected_layers,
        "adapter_parameters": result.adapter_parameters,
        "best_epoch": result.best_epoch,
        "test_seconds": result.test_seconds,
        "curves": [
            {
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                "dev_metric": epoch.development[depth][metric],
            }
            for epoch in outcome.history[1:]
        ],
    }


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _one_line(error: Exception) -> str:
    """Kind, message and place of an exception on one line, and what helps against it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    where = f"({place.filename.rsplit('/', 1)[-1]}:{place.lineno})"
    if isinstance(error, torch.OutOfMemoryError):
        where += "; raise --gpus-per-trial, so that fewer trials share a GPU"
    elif isinstance(error, MemoryError) or "not enough memory" in message:
        where += "; lower --max-concurrent, so that fewer trials share the memory"
    return f"{type(error).__name__}: {message} {where}"
