"""aa_ray.sweep.pulse: a driver notices workers that are stopped.

tests/test_interruptions.py stops a worker's process.
"""

import json

import pytest

from aa_ray.sweep import pulse
from aa_ray.sweep.pulse import LOOK_SECONDS, OTHER_SECONDS, SLACK, PulseWatch

STALL = 100.0


class World:
    """Signs of life of workers, a record of ended processes, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.told: dict[str, bytes] = {}
        self.ended: list[object] = []
        monkeypatch.setattr(pulse.clock, "monotonic", lambda: self.now)
        self.watch = PulseWatch(STALL, self.told.get, lambda beat: self.ended.append(beat["pid"]))

    def tell(self, job_id: str, count: int, training: bool = True) -> None:
        beat = {"pid": f"pid of {job_id}", "count": count, "training": training}
        self.told[job_id] = json.dumps(beat).encode()

    def pass_(self, seconds: float, *job_ids: str) -> list[str]:
        """Let this many seconds pass while the driver looks; return the jobs found silent."""
        silent = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + LOOK_SECONDS)
            silent += self.watch.look(job_ids)
        return silent


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_silent_worker_is_ended_once_and_others_are_not(world: World) -> None:
    for count in range(10):
        world.tell("works", count)
        if count < 2:
            world.tell("stopped", count)
        world.pass_(STALL / 4, "works", "stopped")
    assert world.ended == ["pid of stopped"]


def test_it_is_waited_a_little_longer_than_the_workers_own_watchdog(world: World) -> None:
    world.tell("t", 0)
    assert world.pass_(SLACK * STALL, "t") == []
    assert world.pass_(3 * LOOK_SECONDS, "t") == ["t"]
    world.tell("t", 0)  # from the process that resumes the job
    world.told["t"] = world.told["t"].replace(b"pid of t", b"another")
    assert world.pass_(SLACK * STALL, "t") == []


def test_what_is_no_training_run_may_take_its_time(world: World) -> None:
    world.tell("t", 0, training=False)
    assert world.pass_(SLACK * STALL + OTHER_SECONDS, "t") == []
    assert world.pass_(3 * LOOK_SECONDS, "t") == ["t"]


def test_a_job_that_has_not_begun_is_not_silent(world: World) -> None:
    assert world.pass_(100 * STALL, "t") == []


def test_a_driver_that_was_stopped_itself_ends_nobody(world: World) -> None:
    world.tell("t", 0)
    world.pass_(10.0, "t")
    world.now += 100 * STALL
    assert world.watch.look(["t"]) == [] and world.pass_(STALL, "t") == []


def test_a_job_that_is_over_is_forgotten(world: World) -> None:
    world.tell("t", 0)
    world.pass_(STALL, "t")
    world.pass_(STALL)
    assert world.pass_(STALL, "t") == [] and world.ended == []
