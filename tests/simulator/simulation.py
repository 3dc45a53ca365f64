"""A simulated study: the decisions of its seed, its run, and the invariants afterwards."""

import argparse
import contextlib
import io
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

from aa_ray.commands import execution
from aa_ray.core import backbones
from aa_ray.errors import StorageError, SweepError, UsageError
from aa_ray.report.tables import Table
from aa_ray.store import clock, leases, parquet, processes, provenance, rows, storage
from aa_ray.store.local import LocalFiles
from aa_ray.store.objects import ObjectFiles
from aa_ray.store.rows import Store
from aa_ray.store.schema import Row
from aa_ray.sweep import callback, head, ray_token, session, tune
from aa_ray.sweep.pulse import PulseWatch
from aa_ray.sweep.resources import Resources
from aa_ray.training import device, watchdog
from aa_ray.trial import Trial
from tests.simulator import ray as fake_ray
from tests.simulator import training
from tests.simulator.disk import Disk
from tests.simulator.faults import Faults
from tests.simulator.objects import FaultyBucket
from tests.simulator.plan import ROOT, Plan, make_study
from tests.simulator.world import HOUR, Process, Violation, World

DAY = 24 * HOUR
STALL_SECONDS = 60.0
MOST_OPERATIONS = 60_000


class Pool:
    """Replaces ThreadPoolExecutor and works in the caller's thread."""

    def __init__(self, workers: int) -> None:
        pass

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


class Simulation:
    """The study of a seed, on the store of a seed, with the faults of a seed.

    Args:
        seed: see ``Plan``.
        undisturbed: whether to leave out all faults.
    """

    slots = 2

    def __init__(self, seed: int, undisturbed: bool = False) -> None:
        self.plan = self.make_plan(seed)
        if undisturbed:
            self.plan = replace(self.plan, store="disk", drivers=1, lag=0.0)
        self.undisturbed = undisturbed
        self.study = self.make_study(seed)
        self.world = World(seed)
        self.disk = self.make_disk()
        self._exclusive = self.plan.store != "bucket without conditions"
        self.bucket = FaultyBucket(self.world, self._exclusive, self.plan.lag)
        self.on_disk = self.plan.store in ("disk", "shared")
        hosts = ["host"] if self.plan.store == "disk" else ["host-1", "host-2", "host-3"]
        self.cluster = fake_ray.Cluster(self.world, hosts, slots=self.slots)
        self.world.may_kill = self.cluster.may_kill
        self.actor = training.actor_class(self.cluster, self.study.backbone, self._watched)
        files = self.disk if self.on_disk else self.bucket
        self.faults = Faults(self.plan, self.world, files, self.cluster.hosts)
        self.resources = Resources(fuse=self.plan.fuse, stall_seconds=STALL_SECONDS)
        self._tells: dict[Process, Callable[[bool], None]] = {}
        self.running_commands = 0
        self.written: dict[str, list[Row]] = {}  # trial id -> its finished rows, as first returned
        self.running: dict[str, list[Process]] = {}  # trial id -> the drivers that run it
        self.finished_at: dict[str, float] = {}
        self.violations: list[str] = []
        self.output = io.StringIO()

    # What a longer run replaces.

    make_plan = staticmethod(Plan.of)
    make_study = staticmethod(make_study)

    def make_disk(self) -> Any:
        return Disk(self.world)

    # The run.

    def run(self) -> list[Row]:
        """Run the study to its end and return its rows.

        Raises:
            Violation: an invariant does not hold.
        """
        with self._installed(), contextlib.closing(self.world):
            self.world.spawn("supervisor", "host", self._supervise, mortal=False)
            self.world.run(10 * DAY, MOST_OPERATIONS)
            if self.violations:
                raise Violation(self.violations[0])
            self._check_leftovers()
            return self._final_rows()

    def _supervise(self) -> None:
        plan, world = self.plan, self.world
        if self.undisturbed:
            world.faults = False
        else:
            world.kill_rate, world.stall_rate = plan.kill_rate, plan.stall_rate
            self.bucket.error_rate = plan.error_rate
            self.cluster.most_deaths = 9 if plan.give_up else 4
            self.faults.schedule()
        if not self.on_disk:
            world.latency = (0.02, 0.2)
        for number in range(plan.drivers):
            self._spawn_command(number)
        while world.faults and world.now < plan.faults_until:
            world.wait(10.0)
        world.faults = False
        deadline = world.now + 2 * HOUR
        while self.running_commands:
            if world.now > deadline:
                raise Violation("a study does not end")
            world.wait(10.0)
        world.wait(2 * DAY)
        self._spawn_command(plan.drivers)  # has nothing left to do, and tidies up
        deadline = world.now + HOUR
        while self.running_commands:
            if world.now > deadline:
                raise Violation("a command on a finished study does not end")
            world.wait(10.0)

    def _spawn_command(self, number: int) -> None:
        """Start a command that is repeated until it succeeds."""
        world = self.world
        self.running_commands += 1
        host = self.cluster.hosts[number % len(self.cluster.hosts)]
        status: list[int] = []
        retries = not world.faults or world.random.random() < 0.3

        def ended() -> None:
            world.spawn("shell", "shell", again, mortal=False)

        def again() -> None:
            world.wait(world.random.uniform(1.0, 60.0))
            if not status or status[0]:
                self._spawn_command(number)
            self.running_commands -= 1

        process = world.spawn(
            f"driver {number}", host, lambda: status.append(self._command(retries))
        )
        process.on_death.append(ended)

    def _command(self, retries: bool) -> int:
        """Run a study's command like ``aa_ray.commands.study.guarded``; return its exit status."""
        options = argparse.Namespace(
            results=ROOT,
            no_run=False,
            plan=False,
            retry_failed=retries,
            all_columns=False,
            format="text",
        )
        try:
            return execution.run(options, self.study, lambda results: NO_TABLE)
        except (StorageError, SweepError, UsageError) as error:
            self.world.note(f"{self.world.current.name}: {error}")
            return 1

    # Replacements of real code.

    @contextlib.contextmanager
    def _installed(self) -> Iterator[None]:
        world = self.world
        ray, ray_tune = fake_ray.modules(self.cluster, tune.tune)
        numbers = random.Random(f"uuid {self.plan.seed}")
        write = Store.write
        replaced: list[tuple[Any, str, Any]] = [
            (clock, "monotonic", lambda: world.now),
            (clock, "wall", lambda: world.now + world.skew),
            (clock, "sleep", world.wait),
            (clock, "repeat", world.repeat),
            (processes, "host", lambda: world.current.host),
            (processes, "machine", lambda: world.current.host),
            (processes, "number", lambda: world.current.pid),
            (processes, "started", world.started),
            (storage, "_opened", self._opened),
            (uuid, "uuid4", lambda: uuid.UUID(int=numbers.getrandbits(128))),
            (rows, "ThreadPoolExecutor", Pool),
            (parquet, "load", _load),
            (Store, "write", lambda store, of_trial: self._written(write(store, of_trial))),
            # One process holds driver, workers and files, so collecting garbage would take long.
            (device, "trim", lambda: None),
            (provenance, "peak_memory_bytes", lambda device: 1),
            (provenance, "commit", lambda: (None, None)),
            (tune, "ray", ray),
            (callback, "ray", ray),
            (tune, "tune", ray_tune),
            (head, "watch", lambda address, local: lambda: None),
            (backbones, "check_available", lambda backbone: None),
            (session, "folder", lambda: contextlib.nullcontext(Path("session"))),
            (ray_token, "protect", lambda: None),
            (tune, "run_study", partial(tune.run_study, actor=self.actor)),
            (tune, "PulseWatch", self._pulse_watch),
            (watchdog, "arm", self._arm),
            (watchdog, "beat", lambda: self._tells[world.current](True)),
            (watchdog, "disarm", lambda: self._tells.pop(world.current)(False)),
            (execution, "resources_from", lambda options: self.resources),
        ]
        with contextlib.ExitStack() as stack:
            for module, name, stand_in in replaced:
                stack.enter_context(mock.patch.object(module, name, stand_in))
            stack.enter_context(contextlib.redirect_stdout(self.output))
            stack.enter_context(contextlib.redirect_stderr(self.output))
            yield

    def _pulse_watch(self, seconds: float) -> PulseWatch:
        cluster = self.cluster
        return PulseWatch(seconds, cluster.heard, cluster.end, cluster.forget)

    def _arm(self, seconds: float, tell: Callable[[bool], None]) -> None:
        self._tells[self.world.current] = tell
        tell(True)

    def _opened(self, uri: str, answered: bool) -> tuple[str, str, Any]:
        if self.on_disk:
            return uri, uri, LocalFiles(f"{uri}/leases", self.disk)
        return uri, uri, ObjectFiles(self.bucket, f"{uri}/leases", answered)

    # Invariants.

    @contextlib.contextmanager
    def _watched(
        self, step_began: float, trials: Sequence[Trial], methods: Sequence[str]
    ) -> Iterator[None]:
        """Check a training run: at least one of its trials was unfinished when its job began.

        Others may have finished, since trials that started together resume together.
        """
        wanted = [trial.id for trial, method in zip(trials, methods, strict=True) if method]
        if all(self.finished_at.get(i, self.world.now) < step_began for i in wanted):
            self.violations.append(f"{wanted} finished before, and are run again")
        driver = self.cluster.driver_of(self.world.current)
        for trial_id in wanted:
            for other in self.running.setdefault(trial_id, []):
                if other is not driver and self._is_sound(other) and self._is_sound(driver):
                    self.violations.append(f"{trial_id} is run by two drivers at once")
            self.running[trial_id].append(driver)
        try:
            yield
        finally:
            for trial_id in wanted:
                self.running[trial_id].remove(driver)
                if not self.running[trial_id]:
                    del self.running[trial_id]

    def _is_sound(self, driver: Process) -> bool:
        """Return whether the driver works and others had no reason to doubt it."""
        plan = self.plan
        doubted = plan.outages or plan.full or plan.error_rate or self.faults.lease_damaged
        return driver.alive and driver.longest_stall < leases.BEAT_SECONDS and not doubted

    def _written(self, of_trial: list[Row]) -> list[Row]:
        """Check the result of ``Store.write``: finished rows never change.

        If the store cannot create exclusively and two drivers finish at the same moment, the later
        row may count: it has the same result, from another attempt.
        """
        if of_trial[0]["status"] == "finished":
            trial_id = of_trial[0]["trial_id"]
            first = self.written.setdefault(trial_id, of_trial)
            self.finished_at.setdefault(trial_id, self.world.now)
            if self._exclusive and _attempt(first[0]) != _attempt(of_trial[0]):
                self.violations.append(f"the finished row of {trial_id} has changed")
        return of_trial

    def _final_rows(self) -> list[Row]:
        final: list[Row] = []

        def read() -> None:
            final.extend(Store(ROOT).read().to_pylist())

        self.world.spawn("reader", "host", read, mortal=False)
        self.world.run(20 * DAY, 2 * MOST_OPERATIONS)
        for row in final:
            first = self.written.get(row["trial_id"])
            if self._exclusive and first is not None and _attempt(first[0]) != _attempt(row):
                raise Violation(f"the finished row of {row['trial_id']} has changed in the end")
        return sorted(final, key=lambda row: row["trial_id"])

    def _check_leftovers(self) -> None:
        files = self.disk.all_files() if self.on_disk else self.bucket.all_files()
        for path in sorted(files):
            folder = path.split("/")[1]
            if folder not in ("rows", "compacted") or not path.endswith(".parquet"):
                raise Violation(f"{path} is left over")
            if path.endswith(".failed.parquet"):
                raise Violation(f"{path} is left over")


NO_TABLE = Table("", [], [])


_parquet_load = parquet.load
_remembered = lru_cache(300)(_parquet_load)


def _load(content: bytes, columns: Sequence[str]) -> Any:
    """Replaces ``parquet.load``, which takes milliseconds; loaded data is never changed."""
    return _remembered(content, tuple(columns))


def _attempt(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("started_at", "finished_at", "host", "test_metric"))
