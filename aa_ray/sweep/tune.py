"""Runs a study with Ray Tune. Only this module, and modules that only it imports, import ray.

Each run has one Tuner. Its searcher hands out trials whose dependencies have rows, and its actors
are reused to keep the backbone. The Parquet rows, not Tune's folder, record what is finished: an
actor writes a trial's rows before it reports. Checkpoints are in the results folder too, where any
later run of the study finds them.
"""

import functools
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aa_ray.sweep import environment

os.environ.update(environment.missing())  # before ray is imported

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from aa_ray.errors import SweepError, UsageError
from aa_ray.store import provenance
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.study import plugins
from aa_ray.study.grid import Study
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import head, leftovers, memory, node_cpus, node_gpus, ray_token, session
from aa_ray.sweep.actor import TrialActor
from aa_ray.sweep.callback import SweepCallback
from aa_ray.sweep.finished import FinishedTrials
from aa_ray.sweep.progress import Progress
from aa_ray.sweep.pulse import PulseWatch
from aa_ray.sweep.resources import Resources, Settled, autoscaling_config, host_and_port
from aa_ray.sweep.searcher import RETRIES_AFTER_DEATH, QueueSearcher
from aa_ray.sweep.tracking import Tracking

# Shared memory of a local Ray, for messages between processes, which are small.
OBJECT_BYTES = 200_000_000

# From this many GPU-hours on, suggest checking the cluster first.
DOCTOR_HOURS = 10.0


def run_study(
    queue: TrialQueue, store: Store, resources: Resources, actor: type[TrialActor] = TrialActor
) -> None:
    """Run the remaining trials of the queue, which then knows how they ended.

    Args:
        actor: another actor class, to measure scheduling without training.

    Raises:
        UsageError: the cluster cannot be reached or is too small for a trial.
        StorageError: the results folder can no longer be written to. Finished trials are kept.
        SweepError: Ray itself failed. Finished trials are kept.
    """
    with session.folder() as folder:
        dashboard = start_ray(resources, folder)
        if dashboard:
            print(f"Ray dashboard: http://{dashboard}", file=sys.stderr)
        gcs = ray.get_runtime_context().gcs_address
        stop_watching = head.watch(gcs, resources.address is None)
        try:
            _run(queue, store, resources, actor, folder)
        finally:
            stop_watching()
            ray.shutdown()


def _run(
    queue: TrialQueue,
    store: Store,
    resources: Resources,
    actor: type[TrialActor],
    folder: Path,
) -> None:
    """``run_study`` once Ray has started; ``folder`` is for Tune's own files."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    shares = memory.processes_per_gpu(resources, [node["Resources"] for node in nodes])
    settled = memory.settle(resources, queue, node_gpus.sizes(resources, nodes), shares)
    slots = _slots(settled)
    if settled.gpus_per_trial:
        print(settled.in_words(slots), file=sys.stderr)
        _suggest_doctor(queue, settled, slots)
    node_cpus.note_slow_precision(queue.study, settled)
    _check_space(queue, store, slots * settled.fuse)
    with Leases(store.folder) as leases:
        leftovers.remove(queue, store, leases)
        spread = slots if resources.fuse is None else None
        size = functools.partial(memory.group_size, settled, queue)
        progress = Progress(queue, slots, store.folder)
        searcher = QueueSearcher(queue, store, leases, progress, size, spread)
        _fit(queue.study, store, searcher, settled, slots, actor, folder)
        leftovers.remove(queue, store, leases)  # left by drivers that are now known to be dead


def _suggest_doctor(queue: TrialQueue, resources: Settled, slots: int) -> None:
    """Before a long study on a cluster, suggest a check that takes a minute."""
    plan = queue.plan(slots, resources.fuse_by_task) if resources.address is not None else None
    if plan is not None and plan.busy * resources.gpus_per_trial > 3600 * DOCTOR_HOURS:
        hours = plan.busy * resources.gpus_per_trial / 3600
        print(
            f"note: about {hours:,.0f} GPU-hours of work; python -m aa_ray doctor --address "
            f"{resources.address} checks the machines in a minute",
            file=sys.stderr,
        )


def _slots(resources: Settled) -> int:
    """Number of trials that run at once, on this machine or on the cluster."""
    if resources.address is None:
        return resources.slots(ray.cluster_resources())
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return resources.cluster_slots(nodes, autoscaling_config())


def _fit(
    study: Study,
    store: Store,
    searcher: QueueSearcher,
    resources: Settled,
    slots: int,
    actor: type[TrialActor],
    folder: Path,
) -> None:
    """Let Tune run trials until the searcher has nothing left.

    Raises:
        StorageError, SweepError: see ``run_study``.
    """
    share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    watch = PulseWatch(resources.stall_seconds)
    trackers = [Tracking(name, study, store) for name in resources.trackers]
    tuner = tune.Tuner(
        tune.with_resources(actor, share),
        param_space={"setting": json.dumps(_setting(study, store, resources))},
        tune_config=_tune_config(searcher, slots),
        run_config=_run_config(str(folder / "tune"), [SweepCallback(searcher, watch), *trackers]),
    )
    try:
        tuner.fit()
    except (RayError, TuneError) as error:
        if searcher.stopped is not None:  # Tune's own error would be misleading
            raise searcher.stopped from error
        raise SweepError(
            f"Ray has failed ({str(error).splitlines()[-1]}); finished trials are kept; the "
            "same command continues the study"
        ) from error
    finally:  # also on Ctrl-C: a live view hides the cursor
        searcher.progress.close()
    if searcher.stopped is not None:
        raise searcher.stopped


def _tune_config(searcher: QueueSearcher, slots: int) -> tune.TuneConfig:
    return tune.TuneConfig(
        search_alg=searcher,
        scheduler=FinishedTrials(),
        num_samples=-1,  # until the searcher has finished
        max_concurrent_trials=slots,
        reuse_actors=True,
        trial_dirname_creator=lambda trial: trial.trial_id,
    )


def _run_config(folder: str, callbacks: list[tune.Callback]) -> tune.RunConfig:
    return tune.RunConfig(
        storage_path=folder,
        verbose=0,
        failure_config=tune.FailureConfig(max_failures=RETRIES_AFTER_DEATH),
        # Tune would copy one here, which fails on machines other than the driver's.
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        callbacks=callbacks,
    )


def _setting(study: Study, store: Store, resources: Settled) -> dict[str, Any]:
    """The configuration of all actors."""
    return {
        "backbone": asdict(study.backbone),
        "source": study.source.location,
        "own": plugins.files(),
        "results": store.uri,
        "commit": provenance.commit(),
        "threads": resources.cpus_per_trial,
        "gpus": resources.gpus_per_trial,
        "stall_seconds": resources.stall_seconds,
        "engine": resources.engine,
    }


def _check_space(queue: TrialQueue, store: Store, running: int) -> None:
    """Refuse a study if its rows and checkpoints may need more space than there is."""
    free = store.folder.free_bytes()
    needed = queue.study.bytes_needed(running)
    if free is not None and free < needed:
        raise UsageError(
            f"--results {store.uri}: {free / 1e6:,.0f} MB are free, rows and checkpoints may need "
            f"{needed / 1e6:,.0f} MB; free some space or use another folder"
        )


def start_ray(resources: Resources, folder: Path | None = None) -> str | None:
    """Connect to the cluster, or start Ray here.

    Args:
        folder: folder from ``session.folder`` for the files of a local Ray; None: Ray's default.

    Returns:
        Host and port of Ray's dashboard, if it has one.

    Raises:
        UsageError: no cluster answers, or Ray does not start.
        SweepError: Ray does not start in time.
    """
    address = resources.address
    if address is not None and address != "auto":
        _check_that_somebody_listens(address)
    if resources.dashboard and address is None:
        _check_that_the_dashboard_is_installed()
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_token.protect()
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        context = ray.init(
            address=address or "local",  # never a cluster that happens to be running here
            include_dashboard=None if address else resources.dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else {"object_store_memory": OBJECT_BYTES}),
            **({} if address or folder is None else session.ray_folder(folder)),
        )
    except Exception as error:  # Ray raises a plain Exception on a timeout
        if address is None and "timed out" in str(error):
            raise SweepError(
                "Ray did not start in time: the machine is very busy. Run the same command again"
            ) from error
        where = (
            f"--address {address}: no Ray cluster answers; if it requires a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on the cluster"
            if address
            else "Ray did not start"
        )
        raise UsageError(f"{where} ({str(error).splitlines()[0]})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)  # ray.init has replaced it
    return context.dashboard_url or None


def _check_that_the_dashboard_is_installed() -> None:
    try:
        importlib.import_module("ray.dashboard.optional_deps")
    except ImportError as error:
        raise UsageError(
            f"--dashboard: Ray's dashboard is not installed ({error}); pip install -e '.[cluster]'"
        ) from error


def _check_that_somebody_listens(address: str) -> None:
    """Check that the address accepts connections, since Ray itself would retry for minutes."""
    try:
        socket.create_connection(host_and_port(address), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"--address {address}: no Ray cluster answers ({error})") from error
