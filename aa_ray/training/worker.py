"""Runs arrays of trials on one copy of the backbone, and turns outcomes into rows."""

import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from aa_ray.core import model
from aa_ray.core.backbones import Backbone, check_unchanged
from aa_ray.data import batches, tasks
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Source, Splits, fingerprint, split
from aa_ray.errors import ChangedInputError, CheckpointError, StorageError, TrainingError
from aa_ray.store import provenance
from aa_ray.store.rows import Row
from aa_ray.store.storage import Folder
from aa_ray.training import loop
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.loop import Evaluation, Listener, Outcome, State
from aa_ray.training.trainer import Parts
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
        self._berts: dict[str, BertForSequenceClassification] = {}  # by type of their numbers
        self._sha256 = ""  # of the weights as they were read
        self._constant = {
            "num_layers": backbone.num_layers,
            "host": provenance.host(),
            "hosts": [provenance.host()],
            "resumed_after": [],
            "device": provenance.device_name(self.device),
            "commit": commit[0],
            "dirty": commit[1],
            "versions": provenance.versions(),
        }

    def _bert(self, trial: Trial) -> BertForSequenceClassification:
        """The model for the trial; loaded with the first one, so that a failure is in its row."""
        if trial.precision == "tf32" and self.device.type != "cuda":
            raise TrainingError("precision tf32 needs an NVIDIA GPU; use fp32 or bf16")
        torch.set_float32_matmul_precision("high" if trial.precision == "tf32" else "highest")
        if not self._sha256:
            check_unchanged(self._backbone)
        if trial.fine_tunes:  # a copy of its own, since it changes the backbone
            if trial.precision == "bf16":
                raise TrainingError("the backbone cannot be trained in bf16; use fp32 or tf32")
            bert = model.load(self._backbone.path)
            self._sha256 = model.weights_hash(bert)
            return cast(BertForSequenceClassification, bert.to(self.device))
        key = "bf16" if trial.precision == "bf16" else "fp32"
        if key not in self._berts:
            bert = model.load(self._backbone.path)
            self._sha256 = model.weights_hash(bert)
            self._berts[key] = freeze(bert, self.device, trial.precision)
        return self._berts[key]

    @cached_property
    def _tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self._backbone.path)

    def run(
        self, trials: Sequence[Trial], methods: Sequence[str], listener: Listener | None = None
    ) -> list[list[Row]]:
        """Run the trials side by side; by trial its rows.

        One row per inference depth, or one with the error if the trial failed.

        Args:
            trials: of equal ``fuse_key``; a single one is an array of one.
            methods: the names under which they are run.
            listener: is told of every epoch and test.

        Raises:
            StorageError: their checkpoint cannot be written.
            ChangedInputError: backbone or data are not those that the trials were planned with.
        """
        self.remarks = []
        common: Row = {**self._constant, "started_at": _now()}
        if len(trials) > 1:
            common["array"] = [trial.id for trial in trials]
        provenance.reset_peak_memory(self.device)
        outcomes: Sequence[Outcome | Exception]
        prints: dict[int, str] = {}
        try:
            resumed, checkpoint = self._resume(trials, common)
            splits = {trial.seed: self._split(trial) for trial in trials}
            prints = {seed: fingerprint(of_seed) for seed, of_seed in splits.items()}
            try:
                outcomes = self._train(trials, splits, resumed, checkpoint, listener)
            except CheckpointError as error:
                self._start_anew(trials, error, checkpoint, common)
                outcomes = self._train(trials, splits, None, checkpoint, listener)
        except (StorageError, ChangedInputError):
            raise
        except Exception as error:  # whatever goes wrong here must not stop other trials
            outcomes = [error] * len(trials)
        common["finished_at"] = _now()
        rows = []
        for trial, method, outcome in zip(trials, methods, outcomes, strict=True):
            own = common | trial.columns | {"method": method}
            if isinstance(outcome, Exception):
                rows.append([own | {"status": "failed", "error": _one_line(outcome)}])
            else:
                own["data_fingerprint"] = prints[trial.seed]
                rows.append(self._finished(own, trial, outcome))
        return rows

    def _finished(self, own: Row, trial: Trial, outcome: Outcome) -> list[Row]:
        """The rows of a trial that went well, one per inference depth."""
        own |= {
            "status": "finished",
            "backbone_sha256": self._sha256,
            "metric_name": tasks.get(trial.task).metrics[0],
            "trainable_parameters": outcome.trainable_parameters,
            "epochs": trial.epochs,
            "train_seconds": outcome.train_seconds,
            "peak_memory_bytes": provenance.peak_memory_bytes(self.device),
            **self._histories(outcome),
        }
        depths = outcome.history[-1].development
        return [
            own | _evaluated(outcome, depth, result) | self._histograms(result)
            for depth, result in zip(depths, outcome.evaluations, strict=True)
        ]

    def _resume(
        self, trials: Sequence[Trial], common: Row
    ) -> tuple[State | None, Checkpoint | None]:
        """Where an interrupted run had come to; notes in the rows who worked on it."""
        if self._folder is None:
            return None, None
        checkpoint = Checkpoint(self._folder, trials)
        try:
            state = checkpoint.load()
        except CheckpointError as error:
            self._start_anew(trials, error, checkpoint, common)
            return None, checkpoint
        if state is not None:
            common["hosts"] = [*checkpoint.extra["hosts"], self._constant["host"]]
            common["resumed_after"] = [*checkpoint.extra["resumed_after"], state.epoch]
        checkpoint.extra = {name: common[name] for name in ("hosts", "resumed_after")}
        return state, checkpoint

    def _start_anew(
        self,
        trials: Sequence[Trial],
        error: CheckpointError,
        checkpoint: Checkpoint | None,
        common: Row,
    ) -> None:
        """Say that the checkpoint is of no use, and forget what it said of earlier work."""
        first = trials[0]
        self.remarks.append(
            f"{first.task} {first.regime} seed {first.seed}: its checkpoint does not load "
            f"({error}); it starts anew"
        )
        common["hosts"], common["resumed_after"] = [self._constant["host"]], []
        if checkpoint is not None:
            checkpoint.extra = {name: common[name] for name in ("hosts", "resumed_after")}

    def _split(self, trial: Trial) -> Splits:
        return split(self._source.load(trial.task, trial.data), trial.regime, trial.seed)

    def _train(
        self,
        trials: Sequence[Trial],
        splits: dict[int, Splits],
        resumed: State | None,
        checkpoint: Checkpoint | None,
        listener: Listener | None,
    ) -> list[Outcome | TrainingError]:
        first = trials[0]
        task = tasks.get(first.task)

        def tokenised(table: pa.Table) -> Examples:
            return batches.tokenise(table, task, self._tokenizer, first.max_length)

        # Trials of a seed share their examples, and with them what lies below their adapters.
        parts = {
            seed: Parts(tokenised(of_seed.train), tokenised(of_seed.development))
            for seed, of_seed in splits.items()
        }
        key = f"{first.task} {first.max_length}"
        if key not in self._tests:
            self._tests[key] = tokenised(splits[first.seed].test)
        return loop.run(
            self._bert(first), trials, task, [parts[trial.seed] for trial in trials],
            self._tests[key], resumed=resumed, keeper=checkpoint, listener=listener,
        )  # fmt: skip

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
    message = " ".join(str(error).split())
    places = traceback.extract_tb(error.__traceback__)
    where = f"({places[-1].filename.rsplit('/', 1)[-1]}:{places[-1].lineno})" if places else ""
    if isinstance(error, torch.OutOfMemoryError):
        where += "; raise --gpus-per-trial, so that fewer trials share a GPU"
    elif isinstance(error, MemoryError) or "not enough memory" in message:
        where += "; lower --max-concurrent, so that fewer trials share the memory"
    return f"{type(error).__name__}: {message} {where}".rstrip()
