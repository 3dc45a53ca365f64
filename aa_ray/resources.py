"""What one trial asks of the machine or cluster, and how many fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from aa_ray.errors import UsageError


@dataclass(frozen=True)
class Resources:
    """What one trial asks for, and where.

    Attributes:
        cpus_per_trial: CPU cores, and torch threads, of one trial.
        gpus_per_trial: GPUs of one trial; a fraction shares one GPU between trials.
        max_concurrent: trials at once; None means as many as fit.
        fuse: trials that train side by side in one process, at most.
        stall_seconds: a trial's process is ended, and the trial continued by another, when nothing
            has happened in it for so long.
        address: of a running Ray cluster; None starts Ray on this machine.
    """

    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    max_concurrent: int | None = None
    fuse: int = 1
    stall_seconds: float = 1800.0
    address: str | None = None

    def slots(self, available: Mapping[str, float]) -> int:
        """Trials that run at once on that many CPUs and GPUs.

        Raises:
            UsageError: not even one fits.
        """
        fitting = int(available.get("CPU", 0) // self.cpus_per_trial)
        if self.gpus_per_trial:
            fitting = min(fitting, _fitting(available.get("GPU", 0.0), self.gpus_per_trial))
        if fitting < 1:
            raise UsageError(
                f"a trial asks for {self.cpus_per_trial} CPUs and {self.gpus_per_trial:g} GPUs, "
                f"but there are {available.get('CPU', 0):g} CPUs and {available.get('GPU', 0):g} "
                "GPUs; lower --cpus-per-trial or --gpus-per-trial"
            )
        return min(fitting, self.max_concurrent or fitting)


def _fitting(gpus: float, share: float) -> int:
    """Trials that fit on the GPUs; a share below 1 never spans two of them."""
    return int(gpus // share) if share >= 1 else int(gpus) * int(1 / share + 1e-9)
