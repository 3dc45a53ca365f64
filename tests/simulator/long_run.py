"""A long simulated study on real files: does anything grow with the number of trials?

The simulator's usual disk keeps its files in memory, and its invariants keep every row. Here files
are real, and no rows are kept, so that the memory of this process is that of the driver, the
workers and the store.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aa_ray.core.backbones import RELEASED_RATES, Backbone
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.store.posix import Posix
from aa_ray.store.schema import Row
from aa_ray.study.grid import Study
from tests.simulator import training
from tests.simulator.plan import Plan, SimulatedStudy
from tests.simulator.simulation import DAY, Simulation
from tests.simulator.world import HOUR, Violation, World

# Those with the stand-in's metrics.
TASKS = tuple(name for name, task in tasks.TASKS.items() if {*task.metrics} <= {"accuracy", "f1"})
REGIMES = ("100", "300", "500")
SEED = 2  # of the faults

# Mean seconds that a trial occupies a slot: its epochs, and until its actor gets the next one.
TRIAL_SECONDS = 3 * training.EPOCH_SECONDS + 18.0


class RealDisk(Posix):
    """A folder whose files have the simulation's times.

    Args:
        folder: stands for the simulation's root.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder

    def put(self, path: str, content: Any) -> None:
        self._world.operation(f"put {path}")
        super().put(self._at(path), content)
        now = self._world.now + self._world.skew
        os.utime(self._at(path), (now, now))
        self._world.after(f"put {path}")

    def sync(self, path: str) -> None:
        self._world.operation(f"sync {path}")

    def rename(self, path: str, to: str) -> None:
        self._world.operation(f"rename {path} {to}")
        super().rename(self._at(path), self._at(to))

    def link(self, path: str, to: str) -> None:
        self._world.operation(f"link {path} {to}")
        super().link(self._at(path), self._at(to))

    def unlink(self, path: str) -> None:
        self._world.operation(f"unlink {path}")
        super().unlink(self._at(path))

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self._world.operation(f"read {path}")
        return super().read(self._at(path), offset, size)

    def names(self, folder: str) -> list[str]:
        self._world.operation(f"list {folder}")
        return super().names(self._at(folder))

    def modified(self, path: str) -> float | None:
        self._world.operation(f"stat {path}")
        return super().modified(self._at(path))

    def make_folder(self, folder: str) -> None:
        os.makedirs(self._at(folder), exist_ok=True)

    def free(self, folder: str) -> int:
        return shutil.disk_usage(self._folder).free

    def all_files(self) -> list[str]:
        return [str(p.relative_to(self._folder)) for p in self._folder.rglob("*") if p.is_file()]

    def _at(self, path: str) -> str:
        return str(self._folder / path)


class Sample(NamedTuple):
    """What there is at a moment."""

    hours: float
    finished: int
    files: int  # in the results folder
    printed_kb: float


class LongRun(Simulation):
    """A study whose workers are killed and stall now and then, and whose clocks are set.

    Args:
        trials: at most this many; some have the same settings and become one.
        folder: for the results.
        hours: how long the study takes in simulated time.
        sample: called at equal intervals, 24 times.
    """

    def __init__(
        self, trials: int, folder: Path, hours: float, sample: Callable[[Sample], None]
    ) -> None:
        self._trials, self._folder, self._hours, self._sample = trials, folder, hours, sample
        self.slots = max(2, round(trials * TRIAL_SECONDS / (hours * HOUR)))
        self._over = False
        super().__init__(SEED)

    def make_plan(self, seed: int) -> Plan:
        end = self._hours * HOUR
        rate = 1.0 / (self._trials + 1)  # about thirty operations per trial
        return Plan(
            seed=seed, store="shared", drivers=1, fuse=1, faults_until=end, kill_rate=rate,
            stall_rate=rate, error_rate=0.0, lag=0.0, power_cuts=(), outages=(), full=(),
            clock_steps=((0.2 * end, HOUR), (0.6 * end, -HOUR)),
            compactions=(0.3 * end, 0.7 * end), damages=(), give_up=False,
        )  # fmt: skip

    def make_study(self, seed: int) -> Study:
        per_seed = 4 * len(TASKS) * len(REGIMES)
        return SimulatedStudy(
            methods=("baseline", "aa", "aa-focused-spec", "aa-focused-uni"),
            tasks=TASKS,
            regimes=REGIMES,
            seeds=(42, *range(1000, 1000 + max(1, round(self._trials / per_seed)) - 1)),
            backbone=Backbone("simulated", "simulated", training.LAYERS, 32, pooling="mean"),
            source=Source("embedded"),
            rates=RELEASED_RATES,
            epochs=3,
        )

    def make_disk(self) -> RealDisk:
        return RealDisk(self.world, self._folder)

    def run_long(self) -> None:
        """Run the study to its end.

        Raises:
            Violation: a trial was run twice, or something is left over.
        """
        with self._installed(), contextlib.closing(self.world):
            self.world.spawn("supervisor", "host", self._supervise_long, mortal=False)
            self.world.spawn("sampler", "host", self._take_samples, mortal=False)
            self.world.run(10 * DAY, 1000 * self._trials + 100_000)
            if self.violations:
                raise Violation(self.violations[0])
        self._check_leftovers()

    def _supervise_long(self) -> None:
        self._supervise()
        self._over = True

    def _take_samples(self) -> None:
        while not self._over:
            self.world.wait(self._hours * HOUR / 24)
            if self.world.faults:
                files = sum(len(names) for _, _, names in os.walk(self._folder))
                now = self.world.now / HOUR
                self._sample(Sample(now, len(self.finished_at), files, self.output.tell() / 1e3))

    def _written(self, of_trial: list[Row]) -> list[Row]:
        if of_trial[0]["status"] == "finished":
            self.finished_at.setdefault(of_trial[0]["trial_id"], self.world.now)
        return of_trial


def check(run: LongRun, trial_ids: list[str]) -> None:
    """Compare the rows of a run with what its workers wrote.

    Raises:
        Violation: a trial has several rows, or its row is lost.
    """
    if len(set(trial_ids)) != len(trial_ids):
        raise Violation("a trial has several rows")
    lost = run.finished_at.keys() - set(trial_ids)
    if lost:
        raise Violation(f"the rows of {sorted(lost)} are lost")
