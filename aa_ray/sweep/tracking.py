"""Sends finished trials to TensorBoard, Weights & Biases and MLflow, through Ray's loggers.

Each trial is one run in the tracker, with its settings, learning curve and scores. Since a Tune
trial may be a group of trials, the loggers are not passed to Tune but called here for each trial.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.logger import LoggerCallback

from aa_ray.errors import StorageError
from aa_ray.store.rows import Store
from aa_ray.store.schema import Row
from aa_ray.study.grid import Study
from aa_ray.sweep.messages import Report
from aa_ray.sweep.trackers import TRACKING

PROJECT = "aa-ray"

logger = logging.getLogger(__name__)


def _logger(name: str) -> LoggerCallback:
    """Ray's logger for the tracker; the tool's environment variables override these settings."""
    if name == "tensorboard":
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()
    if name == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        return WandbLoggerCallback(project=os.environ.get("WANDB_PROJECT", PROJECT))
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    folder = Path(TRACKING).resolve()
    return MLflowLoggerCallback(
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db"),
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
    )


class TrackedTrial:
    """A trial with the attributes that Ray's loggers read from Tune's trials."""

    def __init__(self, row: Row, folder: Path, group: str) -> None:
        self.trial_id = row["trial_id"]
        self._name = f"{row['task']} {row['regime']} {row['method']} seed {row['seed']}"
        self.config = {"method": row["method"], **json.loads(row["settings"])}
        self.evaluated_params = self.config
        self.experiment_dir_name = group
        self.local_path = str(folder / f"{self._name.replace(' ', '-')}-{self.trial_id[:8]}")

    def __str__(self) -> str:
        return self._name

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


class Tracking(tune.Callback):
    """Sends all trials that this driver finishes to one tracker.

    Args:
        name: see ``aa_ray.sweep.trackers.TRACKERS``.
        study: its backbone names the group of runs.
        store: holds the rows of the trials that Tune reports.
    """

    def __init__(self, name: str, study: Study, store: Store) -> None:
        self._folder = Path(TRACKING).resolve() / name
        self._group = study.backbone.identity.replace("/", "-")
        self._store = store
        self._folder.mkdir(parents=True, exist_ok=True)
        self._logger = _logger(name)

    def setup(self, **info: Any) -> None:
        self._logger.setup(**info)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        report = Report.from_result(trial.last_result)
        for row in report.rows if report is not None else ():
            try:
                rows = self._store.rows(row["trial_id"])
            except StorageError as error:  # the sweep itself will end because of it
                logger.warning("%s is not sent to the tracker: %s", row["trial_id"], error)
                continue
            if rows:
                self.log(rows)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._logger.on_experiment_end(trials, **info)

    def log(self, rows: list[Row]) -> None:
        """Log one run from all rows of one trial."""
        run: Any = TrackedTrial(rows[0], self._folder, self._group)
        run.init_local_path()
        self._logger.log_trial_start(run)
        for point in rows[0]["curves"] or ():
            losses = {name: point[name] for name in ("train_loss", "dev_metric")}
            self._result(run, point["epoch"], losses)
        scores = {_score(row, len(rows)): row["test_metric"] for row in rows}
        if rows[0]["status"] == "finished":
            self._result(run, rows[0]["epochs"], scores)
        self._logger.log_trial_end(run, failed=rows[0]["status"] == "failed")

    def _result(self, run: Any, epoch: int, values: dict[str, float]) -> None:
        self._logger.log_trial_result(epoch, run, {"training_iteration": epoch, **values})


def _score(row: Row, rows: int) -> str:
    """Name of a row's score; a trial that is tested at several depths has several."""
    return "test_metric" if rows == 1 else f"test_metric_{len(row['adapter_layers'])}_adapters"
