"""The columns of a row: meaning, type, and the part of a run that fills them in.

A ``Row`` consists of parts. Each part is a TypedDict with a single builder, so a type checker
notices a column that is missing or comes from the wrong place. ``COLUMNS`` is the same list for
Parquet; a test checks that the two agree.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict, cast

import pyarrow as pa

from aa_ray.trial import TrialColumns

# 2: input_histograms; 3: hosts, resumed_after, array; 4: inference_depth; 5: chance, chance_error,
# dev_chance, dev_chance_error, answers; 6: engine; 7: no column, but a digest of the file; 8:
# precision, device_memory_bytes, too_many_trials. Columns are only ever added; in older rows they
# are null.
SCHEMA_VERSION = 8
DIGEST_VERSION = 7

VERSION_KEY = b"aa_ray.schema_version"

_LAYERS = pa.list_(pa.int32())
_PER_LAYER = pa.list_(pa.list_(pa.list_(pa.float32())))
_SCORES = pa.struct(
    [
        (name, pa.float64())
        for name in ("accuracy", "f1", "matthews_correlation", "pearson", "spearman")
    ]
)
_HISTOGRAMS = pa.list_(
    pa.struct([("low", pa.float32()), ("high", pa.float32()), ("counts", pa.list_(pa.int64()))])
)
_CURVES = pa.list_(
    pa.struct([("epoch", pa.int32()), ("train_loss", pa.float64()), ("dev_metric", pa.float64())])
)

# Column, type, what it holds. "Failed" rows have null in every column of a result.
COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("trial_id", pa.string(), "content hash of the trial's settings; the file's name"),
    ("method", pa.string(), "the method under whose name it ran; other methods of a study may "
     "resolve to the same trial and share the row"),
    ("task", pa.string(), "GLUE task, as in nyu-mll/glue"),
    ("regime", pa.string(), "annotated examples, training plus development: 100, 300, 500, full"),
    ("seed", pa.int64(), "seed of split, initial weights, order and dropout"),
    ("backbone", pa.string(), "frozen encoder: minilm, hub name, or folder name @ weights hash"),
    ("backbone_sha256", pa.string(), "SHA-256 of the encoder's parameters; null if failed"),
    ("data_source", pa.string(), "embedded-<version>, nyu-mll/glue@<revision>, files-<SHA-256>, "
     "for a custom task own-<SHA-256> or <hub name>@<revision>-<SHA-256>"),
    ("precision", pa.string(), "precision of the frozen encoder: fp32, bf16 or tf32; null in rows "
     "before schema 8"),
    ("data_fingerprint", pa.string(), "SHA-256 of the exact training, development and test "
     "examples; null if failed"),
    ("status", pa.string(), "finished or failed"),
    ("error", pa.string(), "what went wrong, in one line; null if finished"),
    ("metric_name", pa.string(), "the task's deciding metric"),
    ("dev_metric", pa.float64(), "deciding metric on the development set at the best epoch"),
    ("test_metric", pa.float64(), "deciding metric on the test set, 0 to 1 (correlations -1 to 1)"),
    ("test_metrics", _SCORES, "all metrics on the test set; null where the task does not have it"),
    ("answers", pa.int64(), "number of different answers in the test (classes, or numbers); 1: the "
     "same answer for all examples"),
    ("chance", pa.float64(), "deciding metric on the test set for the best constant answer; 0 for "
     "correlations"),
    ("chance_error", pa.float64(), "standard error of chance over test sets of this size"),
    ("dev_chance", pa.float64(), "chance on the development set"),
    ("dev_chance_error", pa.float64(), "standard error of dev_chance"),
    ("adapter_layers", _LAYERS, "0-based layers whose adapters are used at inference (with "
     "switches: all that have one)"),
    ("selected_layers", _LAYERS, "layers whose switch picks the adapter in the test; null "
     "without switches"),
    ("final_selected_layers", _LAYERS, "the same after the last epoch; null without switches"),
    ("inference_depth", pa.int32(), "AdapterDrop: number of layers, counted from the top, whose "
     "adapters are used at inference; null for other trials, and in rows before schema 4"),
    ("num_layers", pa.int32(), "number of transformer layers of the encoder"),
    ("trainable_parameters", pa.int64(), "number of trained parameters, including the classifier"),
    ("adapter_parameters", pa.int64(), "number of parameters of the adapters used at inference, "
     "with rationals and switches, without the classifier"),
    ("epochs", pa.int32(), "epochs trained"),
    ("best_epoch", pa.int32(), "first epoch with the highest development metric, from 1"),
    ("curves", _CURVES, "per epoch from 1: mean training loss, deciding development metric"),
    ("switch_logits", _PER_LAYER, "[epochs + 1][num_layers][identity, adapter] before training and "
     "after each epoch; null without switches; an inner null where a layer has none"),
    ("numerators", _PER_LAYER, "[epochs + 1][num_layers][6] a0..a5 of the rationals, likewise"),
    ("denominators", _PER_LAYER, "[epochs + 1][num_layers][4] b1..b4 of the rationals, likewise"),
    ("input_histograms", _HISTOGRAMS, "[num_layers] inputs of each rational at the best epoch, on "
     "up to 256 development examples: 64 equal bins from low to high; null without rationals, or "
     "where a layer has none"),
    ("train_seconds", pa.float64(), "wall time of training and development evaluations; shared by "
     "all depths of AdapterDrop, and by all trials that trained side by side"),
    ("test_seconds", pa.float64(), "wall time of the test evaluation, shared by all trials that "
     "trained side by side"),
    ("peak_memory_bytes", pa.int64(), "CUDA: peak allocated in this trial; CPU: peak resident size "
     "of the worker process so far"),
    ("device_memory_bytes", pa.int64(), "CUDA: GPU memory that the process could use; null on "
     "CPUs, and in rows before schema 8"),
    ("too_many_trials", pa.int32(), "number of trials side by side that did not fit into that "
     "memory, so that they continued as two halves; null if they fitted"),
    ("started_at", pa.timestamp("us", tz="UTC"), "start of the trial"),
    ("finished_at", pa.timestamp("us", tz="UTC"), "end of the trial"),
    ("host", pa.string(), "name of the machine that finished it"),
    ("hosts", pa.list_(pa.string()), "the machines that worked on it, in order, one entry per "
     "attempt"),
    ("resumed_after", pa.list_(pa.int32()), "the epochs after which an interrupted training run "
     "continued, one entry per interruption; empty if there was none"),
    ("array", pa.list_(pa.string()), "the ids of the trials that trained side by side, this one "
     "included; null if it was alone"),
    ("device", pa.string(), "GPU model, or cpu with its number of threads"),
    ("engine", pa.string(), "engine that computed it: fused or adapterhub; null in rows before "
     "schema 6, which are fused"),
    ("commit", pa.string(), "commit of aa_ray; null outside a git checkout"),
    ("dirty", pa.bool_(), "whether that checkout had uncommitted changes; null outside one"),
    ("versions", pa.string(), "JSON object: package -> version"),
    ("settings", pa.string(), "JSON object: every field of aa_ray.trial.Trial"),
)  # fmt: skip

SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": text}) for name, kind, text in COLUMNS],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


class StudyColumns(TypedDict):
    """The trial's place in the study. Built where the study runs it."""

    method: str
    num_layers: int


class EnvironmentColumns(TypedDict):
    """Hardware and software. Built by ``aa_ray.store.provenance.environment``."""

    host: str
    device: str
    commit: str | None
    dirty: bool | None
    versions: str


class AttemptColumns(TypedDict):
    """Time and place of the run, interruptions, trials side by side. Built by the worker."""

    started_at: datetime
    finished_at: datetime
    hosts: list[str]
    resumed_after: list[int]
    array: list[str] | None
    engine: str
    device_memory_bytes: int | None
    too_many_trials: int | None


class InputColumns(TypedDict):
    """Hashes of the weights and examples that were actually used. Built by the worker."""

    backbone_sha256: str
    data_fingerprint: str


class StatusColumns(TypedDict):
    """The end of the trial: ``FINISHED``, or built by ``failed``."""

    status: str
    error: str | None


class ChanceColumns(TypedDict):
    """Scores of constant answers, which ignore the example.

    Built by ``aa_ray.training.columns.of_chance``.
    """

    chance: float
    chance_error: float
    dev_chance: float
    dev_chance_error: float


class CurvePoint(TypedDict):
    """One epoch of a learning curve."""

    epoch: int
    train_loss: float
    dev_metric: float


# [epochs + 1][num_layers][k]; None for a layer that has none.
PerLayer = list[list[list[float] | None]]


class TrainingColumns(TypedDict):
    """The course of the training run, the same for all inference depths.

    Built by ``aa_ray.training.columns.of_training``.
    """

    metric_name: str
    epochs: int
    trainable_parameters: int
    switch_logits: PerLayer | None
    numerators: PerLayer | None
    denominators: PerLayer | None
    train_seconds: float
    peak_memory_bytes: int


class EvaluationColumns(TypedDict):
    """The test results of one inference depth.

    Built by ``aa_ray.training.columns.of_evaluation``.
    """

    inference_depth: int | None
    adapter_layers: list[int]
    selected_layers: list[int] | None
    final_selected_layers: list[int] | None
    adapter_parameters: int
    best_epoch: int
    dev_metric: float
    test_metric: float
    test_metrics: Mapping[str, float | None]
    answers: int
    curves: list[CurvePoint]
    test_seconds: float


class HistogramRecord(TypedDict):
    """The histogram of one rational's inputs."""

    low: float
    high: float
    counts: list[int]


class HistogramColumns(TypedDict):
    """Inputs of the rationals. Built by ``aa_ray.training.columns.of_histograms``."""

    input_histograms: list[HistogramRecord | None] | None


class Row(
    TrialColumns,
    StudyColumns,
    EnvironmentColumns,
    AttemptColumns,
    InputColumns,
    StatusColumns,
    ChanceColumns,
    TrainingColumns,
    EvaluationColumns,
    HistogramColumns,
):
    """One inference depth of one trial, as ``make_row`` builds it and Parquet returns it.

    The types are those of a finished row. In a failed row all columns of results are None, and in
    an older row all columns that did not exist then.
    """


FINISHED: StatusColumns = {"status": "finished", "error": None}


def failed(error: str) -> StatusColumns:
    """The status of a trial without a result; ``error`` is one line."""
    return {"status": "failed", "error": error}


def make_row(*parts: Mapping[str, Any]) -> Row:
    """The row with these parts; the columns of missing parts are None."""
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    for part in parts:
        row |= part
    return cast(Row, row)
