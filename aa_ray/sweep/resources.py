"""The resources of a trial, and how many trials fit on a machine or cluster."""

import math
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aa_ray.core.engines import AUTO
from aa_ray.errors import UsageError

# Number of trials side by side on a CPU. One trial already uses all cores of its slot; more trials
# would only need more memory (benchmarks/fused.md).
CPU_TRIALS = 4


@dataclass(frozen=True)
class Resources:
    """The resources of a trial, and where it runs.

    Attributes:
        cpus_per_trial: CPU cores, and torch threads, of one trial.
        gpus_per_trial: GPUs of one trial; with a fraction, trials share a GPU. 0: trials run on
            CPUs, even if there are GPUs. None: what the backbone needs if there are GPUs (see
            ``aa_ray.sweep.memory``), else 0.
        max_concurrent: number of trials at once. None: as many as fit; on a cluster that grows, as
            many as fit after it has grown.
        fuse: maximum number of trials that train side by side in one process. None: as many as
            speed it up and fit into the device's memory (see ``aa_ray.sweep.memory``).
        cpu_fuse: the meaning of None for ``fuse`` if trials run on CPUs.
        stall_seconds: if nothing has happened in a trial's process for this long, end it and let
            another one continue the trial.
        address: address of a running Ray cluster. None: start Ray on this machine.
        dashboard: whether to start Ray's dashboard too, if Ray is started.
        engine: one of ``aa_ray.core.engines.ENGINES``.
        trackers: tools that receive the trials' learning curves (see ``aa_ray.sweep.trackers``).
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float | None = 0.0
    max_concurrent: int | None = None
    fuse: int | None = 1
    cpu_fuse: int = CPU_TRIALS
    stall_seconds: float = 1800.0
    address: str | None = None
    dashboard: bool = False
    engine: str = AUTO
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settled(Resources):
    """Resources without any ``auto``; see ``aa_ray.sweep.memory.settle``.

    Attributes:
        fuse: the maximum over all tasks.
        fuse_by_task: task -> maximum number of trials side by side; ``fuse`` for other tasks.
        memory_bytes: GPU memory for one process; 0 on CPUs.
    """

    gpus_per_trial: float = 0.0
    fuse: int = 1
    fuse_by_task: Mapping[str, int] = field(default_factory=dict)
    memory_bytes: int = 0

    def in_words(self, slots: int) -> str:
        """The use of the GPUs in one line: 4 GPUs: 4 processes of up to 12 trials each."""
        gpus = math.ceil(slots * self.gpus_per_trial - 1e-9)
        side_by_side = f"up to {self.fuse} trials each" if self.fuse > 1 else "one trial each"
        return f"{_count(gpus, 'GPU')}: {_count(slots, 'process')} of {side_by_side}"

    def slots(self, available: Mapping[str, float]) -> int:
        """Number of trials that run at once on these CPUs and GPUs.

        Raises:
            UsageError: not even one trial fits.
        """
        fitting = self._fit_on(available)
        if fitting < 1:
            raise UsageError(
                f"a trial needs {self.cpus_per_trial} CPUs and {self.gpus_per_trial:g} GPUs, "
                f"but there are {available.get('CPU', 0):g} CPUs and {available.get('GPU', 0):g} "
                "GPUs; lower --cpus-per-trial or --gpus-per-trial"
            )
        return min(fitting, self.max_concurrent or fitting)

    def cluster_slots(
        self, nodes: Iterable[Mapping[str, float]], autoscaling: Mapping[str, Any] | None = None
    ) -> int:
        """Number of trials that run at once on a cluster, now or at its maximum size.

        A cluster grows only if trials are waiting, so this requests the maximum at once. No trial
        spans two nodes.

        Args:
            nodes: CPU and GPU of each running node.
            autoscaling: the cluster's configuration, if it may grow (see ``autoscaling_config``).

        Raises:
            UsageError: not even one trial fits, and ``max_concurrent`` is not given.
        """
        if self.max_concurrent:
            return self.max_concurrent
        now = sum(self._fit_on(node) for node in nodes)
        fitting = max(now, self._fit_when_grown(autoscaling) if autoscaling else 0)
        if fitting < 1:
            raise UsageError(
                f"a trial needs {self.cpus_per_trial} CPUs and {self.gpus_per_trial:g} GPUs, "
                "but no node of the cluster has that many; lower --cpus-per-trial or "
                "--gpus-per-trial. If larger nodes will start later, set --max-concurrent to the "
                "number of trials that they will run at once"
            )
        return fitting

    def _fit_on(self, available: Mapping[str, float]) -> int:
        """Number of trials that fit on these CPUs and GPUs."""
        fitting = int(available.get("CPU", 0) // self.cpus_per_trial)
        if self.gpus_per_trial:
            fitting = min(fitting, _fitting(available.get("GPU", 0.0), self.gpus_per_trial))
        return fitting

    def _fit_when_grown(self, autoscaling: Mapping[str, Any]) -> int:
        """Number of trials that fit on the largest set of workers the autoscaler may start."""
        left = autoscaling.get("max_workers", 0)
        kinds = autoscaling.get("available_node_types", {}).values()
        fitting = 0
        for kind in sorted(kinds, key=lambda kind: -self._fit_on(kind.get("resources", {}))):
            count = min(left, kind.get("max_workers", left))
            fitting += count * self._fit_on(kind.get("resources", {}))
            left -= count
        return fitting


def autoscaling_config() -> dict[str, Any] | None:
    """The configuration with which ``ray up`` started this cluster; None except on its head."""
    import yaml  # only clusters have such a file

    try:
        return yaml.safe_load(Path("~/ray_bootstrap_config.yaml").expanduser().read_text())
    except OSError:
        return None


def _count(number: int, noun: str) -> str:
    """The number with its noun: 1 GPU, 2 GPUs, 2 processes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _fitting(gpus: float, share: float) -> int:
    """Number of trials that fit on the GPUs; a share below 1 never spans two GPUs."""
    return int(gpus // share) if share >= 1 else int(gpus) * int(1 / share + 1e-9)


def host_and_port(address: str) -> tuple[str, int]:
    """The host and the port of a Ray cluster's address, host:port or ray://host:port.

    Raises:
        ValueError: it is neither.
    """
    parts = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    if not parts.hostname or not parts.port or parts.scheme not in ("", "ray"):
        raise ValueError("expected host:port, ray://host:port or auto")
    return parts.hostname, parts.port
