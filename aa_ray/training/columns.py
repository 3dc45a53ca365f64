"""The results of training and test as columns of rows; ``aa_ray.store.schema`` describes each."""

import traceback
from collections.abc import Sequence

from aa_ray.data import tasks
from aa_ray.data.chance import chance
from aa_ray.data.glue import Splits
from aa_ray.store.schema import (
    ChanceColumns,
    CurvePoint,
    EvaluationColumns,
    HistogramColumns,
    HistogramRecord,
    PerLayer,
    TrainingColumns,
)
from aa_ray.training import device
from aa_ray.training.histograms import Histogram
from aa_ray.training.outcome import Evaluation, Outcome
from aa_ray.training.trainer import Epoch
from aa_ray.trial import Trial


def of_chance(trial: Trial, splits: Splits) -> ChanceColumns:
    """Scores of constant answers on the trial's test and development set."""
    task = tasks.get(trial.task)
    test, development = (chance(task, rows.labels()) for rows in (splits.test, splits.development))
    return {
        "chance": test.score,
        "chance_error": test.error,
        "dev_chance": development.score,
        "dev_chance_error": development.error,
    }


def of_training(
    trial: Trial, outcome: Outcome, num_layers: int, peak_memory_bytes: int
) -> TrainingColumns:
    """The course of the training run, the same for all inference depths."""
    history = outcome.history
    return {
        "metric_name": tasks.get(trial.task).metrics[0],
        "epochs": trial.epochs,
        "trainable_parameters": outcome.trainable_parameters,
        "switch_logits": _by_layer([epoch.logits for epoch in history], num_layers),
        "numerators": _by_layer([epoch.numerators for epoch in history], num_layers),
        "denominators": _by_layer([epoch.denominators for epoch in history], num_layers),
        "train_seconds": outcome.train_seconds,
        "peak_memory_bytes": peak_memory_bytes,
    }


def of_evaluation(
    trial: Trial, history: Sequence[Epoch], depth: int, evaluation: Evaluation
) -> EvaluationColumns:
    """The test results with the adapters of the last ``depth`` layers."""
    metric = tasks.get(trial.task).metrics[0]
    return {
        "inference_depth": None if trial.inference_depths is None else depth,
        "adapter_layers": evaluation.adapter_layers,
        "selected_layers": evaluation.selected_layers,
        "final_selected_layers": evaluation.final_selected_layers,
        "adapter_parameters": evaluation.adapter_parameters,
        "best_epoch": evaluation.best_epoch,
        "dev_metric": evaluation.development[metric],
        "test_metric": evaluation.test[metric],
        "test_metrics": evaluation.test,
        "answers": evaluation.answers,
        "curves": [_curve_point(epoch, depth, metric) for epoch in history[1:]],
        "test_seconds": evaluation.test_seconds,
    }


def of_histograms(histograms: dict[int, Histogram], num_layers: int) -> HistogramColumns:
    """The inputs of each layer's rational; ``histograms`` are by layer."""
    if not histograms:
        return {"input_histograms": None}
    records: dict[int, HistogramRecord] = {
        layer: {"low": seen.low, "high": seen.high, "counts": seen.counts}
        for layer, seen in histograms.items()
    }
    return {"input_histograms": [records.get(layer) for layer in range(num_layers)]}


def one_line(error: Exception) -> str:
    """Type, message and place of an exception in one line, and what to do about it."""
    message = " ".join(str(error).split())
    places = traceback.extract_tb(error.__traceback__)
    where = f"({places[-1].filename.rsplit('/', 1)[-1]}:{places[-1].lineno})" if places else ""
    if device.is_out_of_memory(error):
        where += "; raise --gpus-per-trial, so that fewer processes share a GPU, or use bf16"
    elif isinstance(error, MemoryError) or "not enough memory" in message:
        where += "; lower --max-concurrent, so that fewer trials share the memory"
    return f"{type(error).__name__}: {message} {where}".rstrip()


def _by_layer(epochs: Sequence[dict[int, list[float]]], num_layers: int) -> PerLayer | None:
    """[epochs + 1][num_layers][k] from one dict by layer per epoch; None if they are empty."""
    if not epochs[0]:
        return None
    return [[values.get(layer) for layer in range(num_layers)] for values in epochs]


def _curve_point(epoch: Epoch, depth: int, metric: str) -> CurvePoint:
    assert epoch.train_loss is not None, "only epoch 0 has no loss"
    return {
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "dev_metric": epoch.development[depth][metric],
    }
