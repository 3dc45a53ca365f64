"""aa_ray.store.storage: files are whole or absent, and write errors have clear messages."""

import errno
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from aa_ray.errors import StorageError, UsageError
from aa_ray.store import clock, posix
from aa_ray.store.bucket import Bucket
from aa_ray.store.objects import PATIENCE_SECONDS, ObjectFiles
from aa_ray.store.storage import Folder


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_files_come_and_go(tmp_path: Path, prefix: str) -> None:
    folder = Folder(f"{prefix}{tmp_path}/new")
    assert folder.names("a") == [] and not folder.exists("a/b") and folder.modified("a/b") is None
    folder.write("a/b", b"one")
    folder.write("a/b", b"two")
    assert folder.read("a/b") == b"two" and folder.names("a") == ["b"]
    assert abs((folder.modified("a/b") or 0) - time.time()) < 60
    folder.move("a/b", "c/d")
    assert not folder.exists("a/b") and folder.read("c/d") == b"two"
    folder.delete("c/d")
    folder.delete("c/d")
    with pytest.raises(FileNotFoundError):
        folder.read("c/d")


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_file_is_written_once(tmp_path: Path, prefix: str) -> None:
    folder = Folder(f"{prefix}{tmp_path}/new")
    assert folder.write_once("a/b", b"one") and not folder.write_once("a/b", b"two")
    assert folder.read("a/b") == b"one"
    assert [path.name for path in (tmp_path / "new" / "a").iterdir()] == ["b"]


def test_of_many_at_the_same_time_one_writes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(str(tmp_path))
    monkeypatch.setattr(posix.Posix, "modified", lambda self, path: None)  # all have looked already
    with ThreadPoolExecutor(8) as pool:
        writers = [str(k).encode() * 1000 for k in range(8)]
        wrote = list(pool.map(lambda content: folder.write_once("a", content), writers))
    assert wrote.count(True) == 1 and folder.read("a") == writers[wrote.index(True)]


def test_a_file_system_without_links_looks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(posix.os, "link", no_links)
    folder = Folder(str(tmp_path))
    assert folder.write_once("a", b"one") and not folder.write_once("a", b"two")
    assert folder.read("a") == b"one" and not folder.exclusive()
    assert Folder(str(tmp_path)).names("leases") == []


def test_links_create_exclusively(tmp_path: Path) -> None:
    assert Folder(str(tmp_path)).exclusive()
    assert list((tmp_path / "leases").iterdir()) == []


def test_a_file_and_its_name_are_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is content, name, and the folder's list of names."""
    calls: list[str] = []
    for name in ("sync", "rename", "link"):
        real = getattr(posix.Posix, name)

        def noted(self: Any, path: str, *to: str, name: str = name, real: Any = real) -> None:
            calls.append(f"{name} {Path(path).suffix or Path(path).name}")
            real(self, path, *to)

        monkeypatch.setattr(posix.Posix, name, noted)
    folder = Folder(str(tmp_path / "new"))
    folder.write("rows/a", b"one")
    folder.write_once("rows/b", b"two")
    made = [f"sync {tmp_path.name}", "sync new"]  # the folders new and rows themselves
    assert sorted(calls[:2]) == sorted(made)
    assert calls[2:] == ["sync .part", "rename .part", "sync rows",
                         "sync .part", "link .part", "sync rows"]  # fmt: skip


class Away(Bucket):
    """An object store that fails this many times, or forever."""

    def __init__(self, failures: float, text: str = "curlCode: 7") -> None:
        super().__init__(fs.LocalFileSystem())
        self.failures = failures
        self.text = text

    def get(self, key: str) -> bytes:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(f"AWS Error {self.text}")
        return b"content"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of waiting times; nothing actually waits."""
    slept: list[float] = []
    monkeypatch.setattr(clock, "sleep", slept.append)
    monkeypatch.setattr(clock, "monotonic", lambda: sum(slept))
    return slept


def test_an_outage_of_an_object_store_is_waited_for(slept: list[float]) -> None:
    assert ObjectFiles(Away(5), "probes", answered=True).read("a") == b"content"
    assert slept == [0.5, 1, 2, 4, 8]
    with pytest.raises(OSError, match="curlCode"):
        ObjectFiles(Away(math.inf), "probes", answered=True).read("a")
    assert PATIENCE_SECONDS < sum(slept[5:]) < 1.2 * PATIENCE_SECONDS


def test_what_will_not_get_better_is_not_waited_for(slept: list[float]) -> None:
    for text in ("ACCESS_DENIED during GetObject", "NO_SUCH_BUCKET"):
        with pytest.raises(OSError, match=text):
            ObjectFiles(Away(1, text), "probes", answered=True).read("a")
    with pytest.raises(OSError, match="curlCode"):  # the store's name may be wrong
        ObjectFiles(Away(1), "probes").read("a")
    assert slept == []


@pytest.mark.parametrize("act", [
    lambda folder: folder.names("a"), lambda folder: folder.exists("a"),
    lambda folder: folder.delete("a"), lambda folder: folder.read("a"),
    lambda folder: folder.write("a", b""), lambda folder: folder.write_once("a", b""),
    lambda folder: folder.move("a", "b"), lambda folder: folder.free_bytes(),
])  # fmt: skip
def test_whatever_fails_is_the_stores_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Folder], object]
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("put", "rename", "link", "unlink", "read", "names", "modified", "free"):
        monkeypatch.setattr(posix.Posix, name, fail)
    with pytest.raises(StorageError, match=r"cannot (read|write to) .*Read-only file system"):
        act(Folder(str(tmp_path)))


def test_a_disk_that_is_full_is_said_by_write_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(posix.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        Folder(str(tmp_path)).write_once("a", b"one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_write_that_breaks_off_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a", b"old")

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(posix.os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"{os.strerror(number)}\); free some space or use"):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: cannot be used \(it is a file\)"):
        Folder(str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be used \(.*file is a file\)"):
        Folder(str(tmp_path / "file" / "below"))
    below = Folder(str(tmp_path / "later" / "below"))
    (tmp_path / "later").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*Not a directory"):
        below.check_writable()
    with pytest.raises(UsageError, match="gopher"):
        Folder("gopher://x")
    Folder(str(tmp_path / "new")).check_writable()
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["leases"]


def test_half_written_files_are_not_listed_and_removed_when_old(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("rows/a", b"")
    for name in ("new.part", "old.part"):
        (tmp_path / "rows" / name).write_text("half")
    os.utime(tmp_path / "rows" / "old.part", (0, 0))
    assert folder.names("rows") == ["a"]
    folder.remove_stale_parts("rows")
    assert {path.name for path in (tmp_path / "rows").iterdir()} == {"a", "new.part"}


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = Folder(str(tmp_path / "x" / "y")).free_bytes()
    assert free is not None and free > 0
