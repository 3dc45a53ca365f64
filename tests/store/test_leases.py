"""aa_ray.store.leases: one driver per trial, and takeover from the dead."""

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import asdict, replace
from multiprocessing.queues import JoinableQueue
from pathlib import Path

import pytest

from aa_ray.store import leases
from aa_ray.store.leases import Identity, Leases
from aa_ray.store.storage import Folder


class ObjectStore(Folder):
    """A local folder used as an object store is: no exclusive creation."""

    @property
    def local(self) -> bool:
        return False


@pytest.fixture(params=[Folder, ObjectStore])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    return request.param(str(tmp_path))


def test_one_driver_at_a_time(folder: Folder) -> None:
    with Leases(folder) as first, Leases(folder) as second:
        assert first.acquire("t") and not second.acquire("t")
        assert second.acquire("u") and not first.acquire("u")
        first.release("t")
        assert second.acquire("t")
    with Leases(folder) as third:  # leaving gives everything back
        assert third.acquire("t") and third.acquire("u")
    assert folder.names("leases") == [] and folder.names("drivers") == []


def driver(folder: Folder, **changes: object) -> Identity:
    """A driver's file, of this process unless changed."""
    identity = replace(Identity.of_this_process(), **changes)  # type: ignore[arg-type]
    folder.write(f"drivers/{identity.owner}.json", json.dumps(asdict(identity)).encode())
    return identity


def lease(folder: Folder, name: str, owner: str) -> None:
    if not folder.local:
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


def test_another_machine_is_dead_when_it_is_silent(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease(folder, "t.1", driver(folder, owner="far", machine="another").owner)
    with Leases(folder) as one:
        assert not one.acquire("t")
        monkeypatch.setattr(leases, "DEAD_SECONDS", -1.0)
        assert one.acquire("t")


def test_a_lease_without_driver_is_free_and_one_half_written_is_not(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    lease(folder, "t.1", "nobody")
    folder.create("leases/u.1", b"")
    with Leases(folder) as one:
        assert one.acquire("t")
        assert not one.acquire("u")
        os.utime(tmp_path / "leases" / "u.1", (0, 0))
        assert one.acquire("u")


def test_a_driver_file_that_is_no_json(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("drivers/odd.json", b"{")
    lease(folder, "t.1", "odd")
    with Leases(folder) as one:
        assert not one.acquire("t")  # it was written just now
        monkeypatch.setattr(leases, "DEAD_SECONDS", -1.0)
        assert one.acquire("t")


def test_tidy_removes_what_is_over_and_nothing_else(folder: Folder) -> None:
    dead = driver(folder, owner="dead", started="1")
    driver(folder, owner="far", machine="another")
    for trial in ("finished", "open"):
        lease(folder, f"{trial}.1", dead.owner)
    with Leases(folder) as one:
        one.tidy({"finished"})
        assert [n.split(".")[0] for n in folder.names("leases")] == ["open"]
        assert "dead.json" not in folder.names("drivers") and "far.json" in folder.names("drivers")


def _take(root: str, kind: type[Folder], winners: "JoinableQueue[int]") -> None:
    with Leases(kind(root)) as mine:
        taken = sum(mine.acquire(f"t{i}") for i in range(40))
        winners.put(taken)
        winners.join()  # hold them until all have tried


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
    assert sum(taken) == 40 if kind is Folder else sum(taken) <= 40
