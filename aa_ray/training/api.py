"""``aa_ray.train``: one trial from a Python script, without Ray and without a study."""

import logging
from pathlib import Path

from aa_ray.core import backbones, engines
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.glue import HUB_DATASET, Source
from aa_ray.errors import SweepError, TrainingError, UsageError, unknown
from aa_ray.store import provenance
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Row, Store
from aa_ray.training import checkpoints
from aa_ray.training.loop import Listener
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

logger = logging.getLogger(__name__)


def train(
    trial: Trial,
    *,
    backbone: Backbone | Path | str | None = None,
    data: Source | Path | str | None = None,
    results: str | None = None,
    method: str = "custom",
    listener: Listener | None = None,
    engine: str = engines.AUTO,
) -> list[Row]:
    """Train and test the trial, on a GPU if there is one; gives its rows.

        from aa_ray import make_trial, train

        [row] = train(make_trial("aa", "sst2"))
        print(row["test_metric"], row["selected_layers"])

    It sets torch's global seed, as every trial does, and uses as many CPU threads as torch is set
    to use. On a CPU the number of threads changes the rounding.

    Args:
        trial: what to train. ``make_trial`` makes one by the names of method, task and so on.
        backbone: the frozen encoder: ``minilm``, a name on the hub, or a folder. Without it, the
            one that the trial names; a checkpoint folder has to be given.
        data: ``embedded`` (generated sentences), ``hub``, or a folder with
            <task>/train.parquet and <task>/validation.parquet. Without it, what the trial names;
            a folder has to be given.
        results: the results folder (path or URI) for the rows, where studies find them, and for
            checkpoints, from which an interrupted trial continues. A trial that has finished rows
            there is not trained again. Without it, nothing is kept.
        method: the name under which the rows say that the trial was run.
        listener: is told of every epoch and test; see ``aa_ray.training.loop.Listener``.
        engine: ``auto``, ``fused`` or ``adapterhub``; see ``aa_ray.core.engines``.

    Returns:
        One row per inference depth: one, except for AdapterDrop. Columns as in
        ``aa_ray.results.COLUMNS``; metrics are between 0 and 1 (correlations between -1 and 1),
        times in seconds.

    Raises:
        UsageError: backbone or data is missing, or is not the one that the trial names; or the
            engine cannot compute the trial.
        TrainingError: the trial failed; the message is the row's ``error``.
        StorageError: the results folder cannot be written to.
        SweepError: another process is running the trial in the same results folder.
    """
    encoder, source = _backbone(trial, backbone), _source(trial, data)
    if engine not in engines.ENGINES:
        raise unknown("engine", engine, engines.ENGINES)
    engines.engine_for(engine, encoder, trial.configuration)
    if results is None:
        worker = Worker(encoder, source, provenance.commit(), wanted_engine=engine)
        [rows] = worker.run([trial], [method], listener)
    else:
        store = Store(results)
        rows = store.rows(trial.id)
        if not rows or rows[0]["status"] == "failed":
            worker = Worker(encoder, source, provenance.commit(), store.folder, engine)
            rows = run_in_store(worker, trial, method, store, listener)
            for remark in worker.remarks:
                logger.warning(remark)
    if rows[0]["status"] == "failed":
        raise TrainingError(rows[0]["error"])
    return rows


def run_in_store(
    worker: Worker, trial: Trial, method: str, store: Store, listener: Listener | None = None
) -> list[Row]:
    """Run the trial and store its rows, failed or not, while no other process runs it.

    Raises:
        StorageError: the results folder cannot be written to.
        SweepError: another process is running the trial.
    """
    with Leases(store.folder) as leases:
        if not leases.acquire_or_know(trial.id):
            raise SweepError(
                f"{method} {trial.task} {trial.regime} seed {trial.seed} is being run by another "
                "process; wait for its row"
            )
        existing = store.rows(trial.id)  # another process may have finished it just now
        if listener is None and existing and existing[0]["status"] == "finished":
            return existing
        [rows] = worker.run([trial], [method], listener)
        rows = store.write(rows)
        store.folder.delete(checkpoints.path([trial]))
    return rows


def _backbone(trial: Trial, given: Backbone | Path | str | None) -> Backbone:
    """The trial's backbone."""
    if given is None and "@" in trial.backbone:  # <folder>@<hash of its weights>
        raise UsageError(
            f"the trial's backbone is the checkpoint folder {trial.backbone}; give backbone=, "
            "where that folder is"
        )
    if isinstance(given, Backbone):
        backbone = given
    else:
        backbone = backbones.find(trial.backbone if given is None else str(given))
    if backbone.identity != trial.backbone:
        raise UsageError(
            f"backbone {given or trial.backbone} is {backbone.identity}, but the trial's is "
            f"{trial.backbone}; give another backbone, or make a trial for this one"
        )
    return backbone


def _source(trial: Trial, given: Source | Path | str | None) -> Source:
    """Where the trial's examples come from."""
    if isinstance(given, Source):
        source = given
    else:
        source = Source.named(_data_of(trial) if given is None else str(given))
    identity = source.identity(trial.task)
    if identity != trial.data:
        raise UsageError(
            f"data {source.location} is {identity}, but the trial's is {trial.data}; give other "
            "data, or make a trial for this one"
        )
    return source


def _data_of(trial: Trial) -> str:
    """The name of the source that the trial's data come from, where a name is enough."""
    if trial.data.startswith(f"{HUB_DATASET}@"):
        return "hub"
    # A custom task has its own data, whatever the source.
    if trial.data.startswith("embedded-") or tasks.get(trial.task).origin is not None:
        return "embedded"
    raise UsageError(
        f"the trial's data are {trial.data}; give data=, the folder with {trial.task}/train.parquet"
    )
