"""``aa-ray doctor`` on a cluster: each machine checks itself, its clock and the shared folder."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from aa_ray.sweep import tune  # before ray, since it sets environment variables

# isort: split
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aa_ray.errors import StorageError
from aa_ray.store import provenance
from aa_ray.store.storage import PROBES, Folder
from aa_ray.sweep import memory
from aa_ray.sweep.resources import Resources, autoscaling_config
from aa_ray.training import places
from aa_ray.training.doctor import BROKEN, OK, SLOW, Check, Finding

# Maximum seconds for a machine to check itself, including its packages and kernels.
SECONDS = 300.0

# The same if the cluster has to start a machine with a GPU first.
STARTING_SECONDS = 1200.0


@dataclass(frozen=True)
class Questions:
    """The parameters of the checks on each machine.

    Attributes:
        results: URI of the results folder.
        probe: a file in that folder, written by this machine.
        backbone, data: as in a study's options.
    """

    results: str
    probe: str
    backbone: str
    data: str


def cluster(address: str, results: str, backbone: str, data: str) -> Iterator[Check]:
    """Check all machines of the cluster at this address; yields checks as the machines answer.

    Raises:
        UsageError: the cluster does not answer.
    """
    tune.start_ray(Resources(address=address))
    folder = Folder(results)
    questions = Questions(folder.uri, f"{PROBES}/doctor-{uuid.uuid4().hex}", backbone, data)
    try:
        yield Check(**vars(_written(folder, questions)), host=provenance.host(), name="results")
        nodes = [node for node in ray.nodes() if node["Alive"]]
        waiting = {_ask(node, questions): node["NodeManagerHostname"] for node in nodes}
        seconds = SECONDS
        with_gpus = any(node["Resources"].get("GPU") for node in nodes)
        if not with_gpus and memory.has_gpus(autoscaling_config()):
            seconds = STARTING_SECONDS
            started = _examine.options(num_gpus=1).remote(asdict(questions), trains=True, gpus=1)
            waiting[started] = "a machine to be started"
        until = time.monotonic() + seconds
        while waiting and (left := until - time.monotonic()) > 0:
            ready, _ = ray.wait(list(waiting), timeout=left)
            for answer in ready:
                yield from _heard(answer, waiting.pop(answer), folder)
        for answer, host in waiting.items():
            ray.cancel(answer, force=True)
            text = f"no answer within {seconds:.0f} s; does another job use its GPUs?"
            yield Check(SLOW, text, "try again when it is free", host, "answer")
    finally:
        _delete(folder, questions.probe)
        ray.shutdown()


def _written(folder: Folder, questions: Questions) -> Finding:
    """Write the file that all machines have to find."""
    try:
        folder.write(questions.probe, b"aa_ray")
    except StorageError as error:
        return Finding(BROKEN, str(error), "make it writable, or use another --results")
    return Finding(OK, f"{folder.uri} is writable")


def _delete(folder: Folder, path: str) -> None:
    with suppress(StorageError):  # it could not be written either
        folder.delete(path)


def _ask(node: Mapping[str, Any], questions: Questions) -> ray.ObjectRef:
    """Let the machine check itself; without CPUs for trials, only folders, backbone and data."""
    resources = node["Resources"]
    place = NodeAffinitySchedulingStrategy(node["NodeID"], False)
    gpus = resources.get("GPU", 0)
    return _examine.options(num_gpus=gpus, scheduling_strategy=place).remote(
        asdict(questions), trains=bool(resources.get("CPU")), gpus=gpus
    )


@ray.remote(num_cpus=0, max_retries=0)
def _examine(questions: dict[str, str], trains: bool, gpus: float) -> dict[str, Any]:
    """Runs on each machine: returns its checks, and the file that it has written."""
    from aa_ray.sweep.actor import prepare_device

    prepare_device(gpus)
    from aa_ray.core.logs import quiet_libraries

    quiet_libraries()
    from aa_ray.training import doctor, places

    asked = Questions(**questions)
    folder = Folder(asked.results)
    mine = f"{asked.probe}-{uuid.uuid4().hex}"

    def results() -> Finding:
        folder.write(mine, b"aa_ray")
        try:
            folder.read(asked.probe)
        except FileNotFoundError:
            return Finding(
                BROKEN,
                f"{folder.uri} is not the same folder as on the driver's machine",
                "use a shared file system or an object store for --results",
            )
        return places.results(asked.results)

    checks = [doctor.tried("results", results)]
    if trains:
        checks.append(doctor.tried("inputs", lambda: places.inputs(asked.backbone, asked.data)))
        checks += doctor.checks(bool(gpus))
    node = ray.get_runtime_context().get_node_id()
    return {"checks": [asdict(check) for check in checks], "written": mine, "node": node}


def _heard(answer: ray.ObjectRef, host: str, folder: Folder) -> Iterator[Check]:
    """A machine's checks, and whether this machine agrees with its clock and sees its file."""
    try:
        found = ray.get(answer)
    except ray.exceptions.RayError as error:
        text = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"[:300]
        advice = "is this version of aa_ray installed there?"
        yield Check(BROKEN, text, advice, host, "answer")
        return
    checks = [Check(**check) for check in found["checks"]]
    host = checks[0].host
    yield Check(**vars(_clock(found["node"])), host=host, name="clock")
    yield from checks
    try:
        folder.read(found["written"])
    except (FileNotFoundError, StorageError):
        text = f"the driver's machine does not see what it writes to {folder.uri}"
        advice = "use a shared file system or an object store for --results"
        yield Check(BROKEN, text, advice, host, "results")
    _delete(folder, found["written"])


@ray.remote(num_cpus=0)
def _now() -> float:
    return time.time()


def _clock(node_id: str) -> Finding:
    """Compares the machine's clock with this one's; asks twice, as the first starts a process."""
    place = NodeAffinitySchedulingStrategy(node_id, False)
    for _ in range(2):
        before = time.time()
        theirs = ray.get(_now.options(scheduling_strategy=place).remote())
        after = time.time()
    return places.differing_clock(theirs - (before + after) / 2, (after - before) / 2)
