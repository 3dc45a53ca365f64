"""Heartbeats of workers, checked by the driver with its own clock.

A worker's watchdog (``aa_ray.training.watchdog``) lives in the process that it watches, so it
sleeps when that process is suspended (SIGSTOP, a paused container). So a worker also sends
heartbeats to Ray's head, several within ``--stall-seconds``. The driver ends a process that has
been silent for too long, and Tune gives its trial to another.
"""

import json
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import ray
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aa_ray.store import clock, processes

NAMESPACE = "aa_ray"

# Seconds between two checks.
LOOK_SECONDS = 5.0

# How many times longer than the worker's watchdog the driver waits for a training run; and how many
# seconds longer while torch is imported, or an object store does not answer.
SLACK = 1.5
OTHER_SECONDS = 300.0


class Teller:
    """The worker's side: reports that the job is alive, and whether it is training."""

    def __init__(self, job_id: str) -> None:
        pid = os.getpid()
        node = ray.get_runtime_context().get_node_id()
        self._job_id = job_id
        self._beat = {"pid": pid, "started": processes.started(pid), "node": node, "count": 0}

    def __call__(self, training: bool) -> None:
        self._beat["count"] += 1
        value = json.dumps(self._beat | {"training": training}).encode()
        with suppress(Exception):  # without its head, Ray ends by itself
            internal_kv._internal_kv_put(self._job_id, value, namespace=NAMESPACE)


def heard(job_id: str) -> bytes | None:
    """The last heartbeat of the job's worker."""
    value: bytes | None = internal_kv._internal_kv_get(job_id, namespace=NAMESPACE)
    return value


def forget(job_id: str) -> None:
    """Delete the last heartbeat of a job that has ended; Ray's head would keep it."""
    with suppress(Exception):
        internal_kv._internal_kv_del(job_id, namespace=NAMESPACE)


def end(beat: dict[str, object]) -> None:
    """End the process that sent this heartbeat, even if it is suspended. Returns immediately."""

    @ray.remote(num_cpus=0, max_retries=0)
    def kill(pid: int, started: str) -> None:
        if processes.started(pid) == started:
            os.kill(pid, signal.SIGKILL)

    where = NodeAffinitySchedulingStrategy(str(beat["node"]), soft=False)
    kill.options(scheduling_strategy=where).remote(beat["pid"], beat["started"])


@dataclass
class _Sight:
    value: bytes
    since: float
    ended: bool = False


class PulseWatch:
    """The driver's side.

    Args:
        stall_seconds: as in ``Resources``.
        heard, end, forget: the functions above.
    """

    def __init__(
        self,
        stall_seconds: float,
        heard: Callable[[str], bytes | None] = heard,
        end: Callable[[dict[str, object]], None] = end,
        forget: Callable[[str], None] = forget,
    ) -> None:
        self.forget = forget
        self._limits = {
            True: SLACK * stall_seconds + LOOK_SECONDS,
            False: SLACK * stall_seconds + OTHER_SECONDS,
        }
        self._heard = heard
        self._end = end
        self._sights: dict[str, _Sight] = {}
        self._looked = clock.monotonic()

    def look(self, job_ids: Iterable[str]) -> list[str]:
        """End the workers that have been silent for too long; returns their job ids."""
        now = clock.monotonic()
        if now - self._looked > 4 * LOOK_SECONDS:  # the driver itself was suspended meanwhile
            for sight in self._sights.values():
                sight.since += now - self._looked
        self._looked = now
        silent = []
        job_ids = list(job_ids)
        for job_id in job_ids:
            value = self._heard(job_id)
            if value is None:  # it has not started
                continue
            seen = self._sights.get(job_id)
            if seen is None or seen.value != value:
                self._sights[job_id] = _Sight(value, now)
            elif not seen.ended:
                beat = json.loads(value)
                if now - seen.since > self._limits[beat["training"]]:
                    seen.ended = True
                    self._end(beat)
                    silent.append(job_id)
        self._sights = {i: sight for i, sight in self._sights.items() if i in job_ids}
        return silent
