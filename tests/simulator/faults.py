"""Faults that occur at planned times. Faults tied to an operation are in ``world.py``."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from aa_ray.errors import StorageError, UsageError
from aa_ray.store.rows import Store
from tests.simulator.plan import ROOT, Plan
from tests.simulator.world import World

# Folders whose files may be damaged. Rows are not: a damaged row is set aside, and its trial
# rightly runs again.
DAMAGED = ("checkpoints", "leases", "drivers")


class Faults:
    """The faults of a plan.

    Args:
        files: the disk or the object store.

    Attributes:
        lease_damaged: whether a lease was damaged, after which its trial may have two drivers.
    """

    def __init__(self, plan: Plan, world: World, files: Any, hosts: list[str]) -> None:
        self.plan = plan
        self.world = world
        self.files = files
        self.hosts = hosts
        self.lease_damaged = False

    def schedule(self) -> None:
        """Schedule the faults."""
        plan, world = self.plan, self.world

        def at(when: float, work: Callable[[], None], name: str, mortal: bool = False) -> None:
            def wait_and_work() -> None:
                world.wait(when)
                if world.faults or mortal:
                    world.counts[name] += 1
                    world.note(name)
                    work()

            world.spawn(name, world.random.choice(self.hosts), wait_and_work, mortal)

        for when in plan.power_cuts:
            at(when, self._cut_power, "power cut")
        for when, step in plan.clock_steps:
            at(when, partial(self._step_clock, step), "clock step")
        for when, seconds in plan.outages:
            at(when, partial(self._go_away, seconds), "outage")
        for when, seconds in plan.full:
            at(when, partial(self._fill, seconds), "full disk")
        for when in plan.damages:
            at(when, self._damage, "damage")
        for when in plan.compactions:
            at(when, self._compact, "compaction", mortal=True)

    def _damage(self) -> None:
        """Flip a bit in a checkpoint, a lease or a driver's file, or fill it with zeros."""
        files = self.files.all_files()
        candidates = [p for p in sorted(files) if files[p] and p.split("/")[1] in DAMAGED]
        if candidates:
            rng = self.world.random
            path = rng.choice(candidates)
            content = bytearray(files[path])
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            damaged = bytes(content) if rng.random() < 0.7 else bytes(len(content))
            self.files.replace(path, damaged)
            self.world.note(f"damaged: {path}")
            self.lease_damaged |= "/leases/" in path
            if "/checkpoints/" in path and rng.random() < 0.5:  # and is read before it is replaced
                for process in self.world.processes:
                    if process.name.startswith("worker") and self.world.may_kill(process):
                        self.world.kill(process)

    def _cut_power(self) -> None:
        for process in self.world.processes:
            if process.mortal and (self.plan.store == "disk" or self.world.random.random() < 0.5):
                self.world.kill(process)
        if self.plan.store == "disk":
            self.files.lose_power(self.world.random)

    def _step_clock(self, step: float) -> None:
        self.world.skew += step

    def _go_away(self, seconds: float) -> None:
        self.files.away_until = self.world.now + seconds

    def _fill(self, seconds: float) -> None:
        self.files.full = True
        self.world.wait(seconds)
        self.files.full = False

    def _compact(self) -> None:
        with contextlib.suppress(StorageError, UsageError):
            Store(ROOT).compact()
