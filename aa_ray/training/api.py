"""``aa_ray.train``: run one trial from a Python script, without Ray or a study."""

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
    """Train and test the trial, on a GPU if there is one, and return its rows.

        from aa_ray import make_trial, train

        [row] = train(make_trial("aa", "sst2"))
        print(row["test_metric"], row["selected_layers"])

    It sets torch's global seed, as all trials do, and uses torch's number of CPU threads. On a CPU
    the number of threads changes the rounding.

    Args:
        trial: the trial. ``make_trial`` makes one from the names of method, task and so on.
        backbone: the frozen encoder: ``minilm``, a name on the hub, or a folder. Default: the one
            that the trial names; required if that is a checkpoint folder.
        data: ``embedded`` (generated sentences), ``hub``, or a folder with
            <task>/train.parquet and <task>/validation.parquet. Default: the source that the trial
            names; required if that is a folder.
        results: the results folder (path or URI) for rows and checkpoints. Studies find the rows
            there, an interrupted trial continues from its checkpoint, and a trial with finished
            rows is not trained again. Without a folder nothing is kept.
        method: the method's name in the rows.
        listener: is called after each epoch and test; see ``aa_ray.training.loop.Listener``.
        engine: ``auto``, ``fused`` or ``adapterhub``; see ``aa_ray.core.engines``.

    Returns:
        One row per inference depth: one, except for AdapterDrop. Columns as in
        ``aa_ray.results.COLUMNS``; metrics are between 0 and 1 (correlations between -1 and 1),
        times in seconds.

    Raises:
        UsageError: the backbone or the data is missing or differs from what the trial names, or
            the engine cannot compute the trial.
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
    """Run the trial and store its rows, even if it fails, unless another process is running it.

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
        existing = store.rows(trial.id)  # another process may have just finished it
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
            f"the trial's backbone is the checkpoint folder {trial.backbone}; pass the path of "
            "that folder as backbone="
        )
    if isinstance(given, Backbone):
        backbone = given
    else:
        backbone = backbones.find(trial.backbone if given is None else str(given))
    if backbone.identity != trial.backbone:
        raise UsageError(
            f"backbone {given or trial.backbone} is {backbone.identity}, but the trial's is "
            f"{trial.backbone}; pass another backbone, or make a trial for this one"
        )
    return backbone


def _source(trial: Trial, given: Source | Path | str | None) -> Source:
    """The source of the trial's examples."""
    if isinstance(given, Source):
        source = given
    else:
        source = Source.named(_data_of(trial) if given is None else str(given))
    identity = source.identity(trial.task)
    if identity != trial.data:
        raise UsageError(
            f"data {source.location} is {identity}, but the trial's is {trial.data}; pass other "
            "data, or make a trial for these"
        )
    return source


def _data_of(trial: Trial) -> str:
    """The name of the trial's data source, if a name is enough to find it."""
    if trial.data.startswith(f"{HUB_DATASET}@"):
        return "hub"
    # A custom task has its own data, whatever the source.
    if trial.data.startswith("embedded-") or tasks.get(trial.task).origin is not None:
        return "embedded"
    raise UsageError(
        f"the trial's data are {trial.data}; pass the folder with {trial.task}/train.parquet as "
        "data="
    )
