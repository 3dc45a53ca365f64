"""aa_ray.store.storage: whole files or none, and clear words where nothing can be written."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aa_ray.errors import StorageError, UsageError
from aa_ray.store import storage
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


def test_only_one_creates(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert folder.create("a/b", b"one") and not folder.create("a/b", b"two")
    assert folder.read("a/b") == b"one"


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
    monkeypatch.setattr(folder, "exists", lambda path: False)  # all have looked before
    with ThreadPoolExecutor(8) as pool:
        writers = [str(k).encode() * 1000 for k in range(8)]
        wrote = list(pool.map(lambda content: folder.write_once("a", content), writers))
    assert wrote.count(True) == 1 and folder.read("a") == writers[wrote.index(True)]


def test_a_file_system_without_links_looks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(storage.os, "link", no_links)
    folder = Folder(str(tmp_path))
    assert folder.write_once("a", b"one") and not folder.write_once("a", b"two")
    assert folder.read("a") == b"one"


def test_a_disk_that_is_full_is_said_by_write_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
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

    monkeypatch.setattr(storage.os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"{os.strerror(number)}\); make room or give another"):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: cannot be used \(it is a file\)"):
        Folder(str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot write to .*Not a directory"):
        Folder(str(tmp_path / "file" / "below")).check_writable()
    with pytest.raises(UsageError, match="gopher"):
        Folder("gopher://x")
    Folder(str(tmp_path / "new")).check_writable()
    assert list((tmp_path / "new").iterdir()) == []


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
