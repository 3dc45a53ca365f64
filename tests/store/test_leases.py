"""aa_ray.store.leases: each trial has one driver, and living drivers take over from dead ones."""

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from multiprocessing.queues import JoinableQueue
from pathlib import Path

import pytest
from pyarrow import fs

from aa_ray.store import leases
from aa_ray.store.bucket import Bucket
from aa_ray.store.leases import Identity, Leases
from aa_ray.store.objects import ObjectFiles
from aa_ray.store.storage import Folder


class ObjectStore(Folder):
    """A local folder used like an object store that cannot create exclusively."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._files = ObjectFiles(
            Bucket(fs.LocalFileSystem()), f"{self._root}/leases", answered=True
        )


@pytest.fixture(params=[Folder, ObjectStore])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    return request.param(str(tmp_path))


def test_one_driver_at_a_time(folder: Folder) -> None:
    with Leases(folder) as first, Leases(folder) as second:
        assert first.acquire("t") and not second.acquire("t")
        assert second.acquire("u") and not first.acquire("u")
        first.release("t")
        assert second.acquire("t")
    with Leases(folder) as third:  # leaving releases everything
        assert third.acquire("t") and third.acquire("u")
    assert folder.names("leases") == [] and folder.names("drivers") == []


def driver(folder: Folder, **changes: object) -> Identity:
    """Write a driver's file; the driver is this process unless changed."""
    identity = replace(Identity.of_this_process(), **changes)  # type: ignore[arg-type]
    beat(folder, identity)
    return identity


def beat(folder: Folder, identity: Identity, number: int = 1) -> None:
    """Write the driver's file as the driver itself does."""
    of_driver = Leases(folder)
    of_driver._self, of_driver._beats = identity, number
    of_driver._beat()


def lease(folder: Folder, name: str, owner: str) -> None:
    if not folder.exclusive():
        name += f".{owner}"
    folder.write(f"leases/{name}", owner.encode())


def test_a_dead_process_of_this_machine_is_known_at_once(folder: Folder) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    dead = driver(folder, owner="dead", pid=int(ended.stdout))
    lease(folder, "t.1", dead.owner)
    with Leases(folder) as one, Leases(folder) as other:
        assert one.acquire("t") and not other.acquire("t")


def test_a_number_that_is_used_again_is_another_process(folder: Folder) -> None:
    lease(folder, "t.1", driver(folder, owner="earlier", started="1").owner)
    lease(folder, "u.1", driver(folder, owner="lives").owner)
    with Leases(folder) as one:
        assert one.acquire("t") and not one.acquire("u")


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(leases.clock, "monotonic", time)
    return time


def test_another_machine_is_dead_when_it_has_been_silent_while_watched(
    folder: Folder, time: Time
) -> None:
    far = driver(folder, owner="far", machine="another")
    lease(folder, "t.1", far.owner)
    with Leases(folder) as one:
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS - 1
        assert not one.acquire("t")
        beat(folder, far, 2)
        time.now += leases.DEAD_SECONDS - 1  # it has been seen at work since
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert one.acquire("t")


@pytest.mark.parametrize("years", [-1, 1])
def test_times_of_files_say_nothing(tmp_path: Path, time: Time, years: int) -> None:
    """The clock of a machine or of a file server may be wrong."""
    folder = Folder(str(tmp_path))
    lease(folder, "t.1", driver(folder, owner="far", machine="another").owner)
    wrong = os.stat(tmp_path / "drivers" / "far.json").st_mtime + years * 365 * 86400
    os.utime(tmp_path / "drivers" / "far.json", (wrong, wrong))
    with Leases(folder) as one:
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert one.acquire("t")


def test_a_stopped_driver_of_this_machine_is_dead_when_it_is_silent(
    folder: Folder, time: Time
) -> None:
    lease(folder, "t.1", driver(folder, owner="stopped").owner)  # its process exists
    with Leases(folder) as one:
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert one.acquire("t")


def test_who_comes_back_does_not_take_the_lease_of_who_took_over(
    folder: Folder, time: Time
) -> None:
    with Leases(folder) as stopped, Leases(folder) as other, Leases(folder) as third:
        assert stopped.acquire("t") and not other.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert other.acquire("t")
        stopped._beat()
        stopped.release("t")
        assert not third.acquire("t") and not stopped.acquire("t")
        other.release("t")
        assert third.acquire("t")


DAMAGED = [b"", bytes(20), b"\xff\xfe", b"x" * 5000, b"../../x"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lease_is_held_for_a_while(tmp_path: Path, time: Time, content: bytes) -> None:
    """A power cut may leave zeros in a file that an older version wrote."""
    folder = Folder(str(tmp_path))
    folder.write("leases/t.1", content)
    with Leases(folder) as one:
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert one.acquire("t")
        one.release("t")
    assert folder.names("leases") == []


def test_names_that_are_no_leases_are_left_alone(folder: Folder) -> None:
    for name in ("t.1~", "t.1 (conflicted copy)", "t", "t.x", ".t.1.swp"):
        folder.write(f"leases/{name}", b"")
    with Leases(folder) as one:
        assert one.acquire("t")
        one.tidy({"t"})


def test_a_lease_without_driver_is_free(folder: Folder) -> None:
    lease(folder, "t.1", "nobody")
    with Leases(folder) as one:
        assert one.acquire("t")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"owner": "odd"}', bytes(50)])
def test_a_damaged_driver_file_counts_while_it_is_new(
    folder: Folder, time: Time, content: bytes
) -> None:
    folder.write("drivers/odd.json", content)
    lease(folder, "t.1", "odd")
    with Leases(folder) as one:
        assert not one.acquire("t")
        time.now += leases.DEAD_SECONDS
        assert one.acquire("t")


def test_a_flipped_bit_does_not_make_a_driver_dead(folder: Folder) -> None:
    lives = driver(folder, owner="lives")
    lease(folder, "t.1", lives.owner)
    whole = folder.read("drivers/lives.json")
    for at in range(len(whole)):
        folder.write("drivers/lives.json", whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with Leases(folder) as one:
            assert not one.acquire("t")


def test_two_who_meet_where_nobody_creates_exclusively(tmp_path: Path) -> None:
    """The driver that is first by name waits until the other has withdrawn."""
    folder = ObjectStore(str(tmp_path))
    with Leases(folder) as one, Leases(folder) as two:
        first, second = sorted([one, two], key=lambda each: each._self.owner)
        ours, theirs = first._create("t", 1), second._create("t", 1)
        assert ours is not None and theirs is not None

        def withdraw(seconds: float) -> None:
            assert not second._alone(theirs)
            folder.delete(f"leases/{theirs.name}")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leases.clock, "sleep", withdraw)
            assert first._alone(ours)
        assert not second.acquire("t")


def test_a_lease_whose_answer_was_lost_is_known_again(folder: Folder) -> None:
    with Leases(folder) as one:
        assert one._create("t", 1) is not None  # the answer was lost
        assert one.acquire("t")
        one.release("t")
        assert folder.names("leases") == []


def test_who_asks_once_waits_until_it_is_known(
    folder: Folder, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = driver(folder, owner="far", machine="another")
    lease(folder, "t.1", far.owner)
    lease(folder, "u.1", driver(folder, owner="lives").owner)

    def sleep(seconds: float) -> None:
        time.now += seconds

    monkeypatch.setattr(leases.clock, "sleep", sleep)
    with Leases(folder) as one:
        assert not one.acquire_or_know("u") and time.now == 1000.0
        assert one.acquire_or_know("t") and time.now >= 1000.0 + leases.DEAD_SECONDS


def test_tidy_removes_what_is_over_and_nothing_else(folder: Folder) -> None:
    dead = driver(folder, owner="dead", started="1")
    driver(folder, owner="far", machine="another")
    for trial in ("finished", "open"):
        lease(folder, f"{trial}.1", dead.owner)
    with Leases(folder) as one:
        one.tidy({"finished"})  # a failed trial may be running again
        assert [n.split(".")[0] for n in folder.names("leases")] == ["open"]
        assert "dead.json" not in folder.names("drivers") and "far.json" in folder.names("drivers")


def _take(root: str, kind: type[Folder], winners: "JoinableQueue[int]") -> None:
    with Leases(kind(root)) as mine:
        taken = sum(mine.acquire(f"t{i}") for i in range(40))
        winners.put(taken)
        winners.join()  # hold the leases until all have tried


@pytest.mark.parametrize("kind", [Folder, ObjectStore])
def test_four_processes_never_share_a_trial(tmp_path: Path, kind: type[Folder]) -> None:
    context = multiprocessing.get_context("spawn")
    winners = context.JoinableQueue()
    drivers = [context.Process(target=_take, args=(str(tmp_path), kind, winners)) for _ in range(4)]
    for one in drivers:
        one.start()
    taken = [winners.get(timeout=60) for _ in drivers]
    for _ in drivers:
        winners.task_done()
    for one in drivers:
        one.join(60)
    assert sum(taken) == 40 if kind is Folder else 0 < sum(taken) <= 40
