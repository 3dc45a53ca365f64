"""Runs one trial or several side by side on one copy of the backbone, and makes their rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import torch
from transformers import PreTrainedModel

from aa_ray.core import engines, model
from aa_ray.core.backbones import Backbone, check_unchanged, reading
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.errors import ChangedInputError, CheckpointError, StorageError, TrainingError
from aa_ray.store import provenance
from aa_ray.store.schema import (
    FINISHED,
    AttemptColumns,
    InputColumns,
    Row,
    StudyColumns,
    failed,
    make_row,
)
from aa_ray.store.storage import Folder
from aa_ray.training import columns, device, engine, halving, loop
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.cpu_layers import freeze, replace_linears, restore_linears
from aa_ray.training.inputs import Facts, Inputs
from aa_ray.training.loop import Listener, State
from aa_ray.training.outcome import Outcome
from aa_ray.trial import Trial


class Worker:
    """One process's backbone and inputs.

    Args:
        backbone: the frozen encoder of all trials given to ``run``.
        source: the source of their examples.
        commit: commit and dirty flag to record, from the process that planned the trials.
        folder: the results folder for checkpoints; None keeps nothing.
        wanted_engine: one of ``aa_ray.core.engines.ENGINES``.
        device: "cuda" or "cpu"; None: a GPU if there is one.

    Attributes:
        remarks: messages to the user about the last trials.
        device: the device used.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: Source,
        commit: tuple[str | None, bool | None],
        folder: Folder | None = None,
        wanted_engine: str = engines.AUTO,
        device: str | None = None,
    ) -> None:
        self.remarks: list[str] = []
        self._wanted_engine = wanted_engine
        self._folder = folder
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # By task and precision: the smallest number of trials that did not fit into memory.
        self._too_many: dict[tuple[str, str], int] = {}
        self._backbone = backbone
        self._inputs = Inputs(source, backbone, lambda text: self.remarks.append(text))
        self._encoders: dict[str, PreTrainedModel] = {}  # by precision
        self._sha256 = ""  # hash of the weights as read
        self._environment = provenance.environment(self.device, commit)

    def _encoder(self, trial: Trial) -> PreTrainedModel:
        """The model for the trial; loaded for the first one, so that a failure is in its row."""
        if trial.precision == "tf32" and self.device.type != "cuda":
            raise TrainingError("precision tf32 needs an NVIDIA GPU; use fp32 or bf16")
        device.set_precision(trial.precision)
        if not self._sha256:
            check_unchanged(self._backbone)
        if trial.fine_tunes:  # a separate copy, since the trial changes the backbone
            if trial.precision == "bf16":
                raise TrainingError("the backbone cannot be trained in bf16; use fp32 or tf32")
            encoder = self._load()
            self._sha256 = model.weights_hash(encoder)
            return encoder.to(self.device)
        key = "bf16" if trial.precision == "bf16" else "fp32"
        if key not in self._encoders:
            encoder = self._load()
            self._sha256 = model.weights_hash(encoder)
            self._encoders[key] = freeze(encoder, self.device, trial.precision, fast_linears=False)
        encoder = self._encoders[key]
        model.remove_adapters(encoder)
        # LoRA and others live inside AdapterHub's linear layers.
        fit = restore_linears if trial.configuration else replace_linears
        if self.device.type == "cpu":
            fit(encoder.base_model)
        return encoder

    def _load(self) -> PreTrainedModel:
        with reading(self._backbone):
            return model.load(self._backbone.path)

    def run(
        self, trials: Sequence[Trial], methods: Sequence[str], listener: Listener | None = None
    ) -> list[list[Row]]:
        """Run the trials side by side, in as few groups as fit into the device's memory.

        Args:
            trials: one trial, or several with equal ``fuse_key``.
            methods: the method name of each trial.
            listener: is called after each epoch and test.

        Returns:
            The rows of each trial: one per inference depth, or one with the error if it failed.

        Raises:
            StorageError: their checkpoint cannot be written.
            ChangedInputError: backbone or data differ from those that the trials were planned with.
            DeviceError: the GPU fails, and will keep failing in this process.
        """
        self.remarks = []
        of_trials = {trial.id: method for trial, method in zip(trials, methods, strict=True)}
        rows: dict[str, list[Row]] = {}
        waiting = halving.begun(trials, self._folder)
        while waiting:
            group = waiting.pop(0)
            of_group = None
            if len(group) < self._too_many.get(halving.memory_key(group[0]), len(group) + 1):
                of_group = self._run_group(group, of_trials, listener)
            if of_group is None:
                waiting[:0] = halving.halve(group, self._folder)
            else:
                rows |= of_group
        return [rows[trial.id] for trial in trials]

    def _run_group(
        self, trials: Sequence[Trial], methods: Mapping[str, str], listener: Listener | None
    ) -> dict[str, list[Row]] | None:
        """The rows of trials that train side by side; None if they need too much memory.

        Args:
            methods: trial id -> method name.
        """
        attempt = self._attempt(trials)
        provenance.reset_peak_memory(self.device)
        outcomes: Sequence[Outcome | TrainingError | str]
        facts: dict[int, Facts] = {}
        try:
            facts = self._inputs.facts(trials)
            outcomes = self._continue(trials, attempt, listener)
        except (StorageError, ChangedInputError):
            raise
        except Exception as error:  # no error here may stop other trials
            # As text: the error itself would keep the failed step's activations.
            outcomes = [columns.one_line(error)] * len(trials)
            halved = len(trials) > 1 and device.is_out_of_memory(error)
            device.free(error)
            device.check(self.device, error)
            if halved:
                self._too_many[halving.memory_key(trials[0])] = len(trials)
                self.remarks.append(halving.remark(trials, self._environment["device"]))
                return None
        attempt["finished_at"] = _now()
        rows: dict[str, list[Row]] = {}
        for trial, outcome in zip(trials, outcomes, strict=True):
            of_study: StudyColumns = {
                "method": methods[trial.id], "num_layers": self._backbone.num_layers
            }  # fmt: skip
            known: list[Mapping[str, Any]] = [trial.columns, of_study, self._environment, attempt]
            if isinstance(outcome, Outcome):
                rows[trial.id] = self._finished(known, trial, outcome, facts[trial.seed])
            else:
                text = outcome if isinstance(outcome, str) else columns.one_line(outcome)
                rows[trial.id] = [make_row(*known, failed(text))]
        return rows

    def _finished(
        self, known: Sequence[Mapping[str, Any]], trial: Trial, outcome: Outcome, facts: Facts
    ) -> list[Row]:
        """The rows of a successful trial, one per inference depth.

        Args:
            known: the parts of the rows that do not depend on the outcome.
            facts: facts of its examples.
        """
        num_layers = self._backbone.num_layers
        inputs: InputColumns = {
            "backbone_sha256": self._sha256, "data_fingerprint": facts.fingerprint
        }  # fmt: skip
        peak = provenance.peak_memory_bytes(self.device)
        training = columns.of_training(trial, outcome, num_layers, peak)
        depths = outcome.history[-1].development
        return [
            make_row(
                *known,
                facts.chance,
                FINISHED,
                inputs,
                training,
                columns.of_evaluation(trial, outcome.history, depth, evaluation),
                columns.of_histograms(evaluation.input_histograms, num_layers),
            )
            for depth, evaluation in zip(depths, outcome.evaluations, strict=True)
        ]

    def _attempt(self, trials: Sequence[Trial]) -> AttemptColumns:
        """An attempt that starts now; the first one, unless a checkpoint says otherwise."""
        now = _now()
        return {
            "started_at": now,
            "finished_at": now,
            "hosts": [self._environment["host"]],
            "resumed_after": [],
            "array": [trial.id for trial in trials] if len(trials) > 1 else None,
            "engine": self._engine(trials[0]),
            "device_memory_bytes": provenance.device_memory_bytes(self.device),
            "too_many_trials": self._too_many.get(halving.memory_key(trials[0])),
        }

    def _engine(self, trial: Trial) -> str:
        """The name of the engine for the trial and its group."""
        return engines.engine_for(self._wanted_engine, self._backbone, trial.configuration)

    def _continue(
        self,
        trials: Sequence[Trial],
        attempt: AttemptColumns,
        listener: Listener | None,
    ) -> list[Outcome | TrainingError]:
        """Train from the trials' checkpoint, if they have one, else from the start."""
        if self._folder is None:
            return self._train(trials, None, None, listener)
        checkpoint = Checkpoint(self._folder, trials)
        try:
            state = checkpoint.load()
            if state is not None:
                attempt["hosts"] = [*checkpoint.extra["hosts"], *attempt["hosts"]]
                attempt["resumed_after"] = [*checkpoint.extra["resumed_after"], state.epoch]
            _note(attempt, checkpoint)
            return self._train(trials, state, checkpoint, listener)
        except CheckpointError as error:
            first = trials[0]
            self.remarks.append(
                f"{first.task} {first.regime} seed {first.seed}: its checkpoint cannot be loaded "
                f"({error}); it starts from the beginning"
            )
            attempt["hosts"], attempt["resumed_after"] = [self._environment["host"]], []
            _note(attempt, checkpoint)
            return self._train(trials, None, checkpoint, listener)

    def _train(
        self,
        trials: Sequence[Trial],
        resumed: State | None,
        checkpoint: Checkpoint | None,
        listener: Listener | None,
    ) -> list[Outcome | TrainingError]:
        first = trials[0]
        tokeniser, encoder = self._inputs.tokeniser, self._encoder(first)
        parts, test = self._inputs.examples(trials, tokeniser, encoder)
        return loop.run(
            engine.make(self._engine(first), encoder), trials, tasks.get(first.task),
            [parts[trial.seed] for trial in trials], test,
            resumed=resumed, keeper=checkpoint, listener=listener,
        )  # fmt: skip


def _note(attempt: AttemptColumns, checkpoint: Checkpoint) -> None:
    """Store in the checkpoint which hosts have worked on the trials so far."""
    checkpoint.extra = {"hosts": attempt["hosts"], "resumed_after": attempt["resumed_after"]}


def _now() -> datetime:
    return datetime.now(timezone.utc)
