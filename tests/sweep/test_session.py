"""aa_ray.sweep.session: a temporary folder that only its owner can enter."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from aa_ray.store import processes
from aa_ray.sweep import session


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(session, "MOST_BYTES", 4096)  # pytest's own paths are long
    return tmp_path


def left_behind(parent: Path, name: str, **changes: object) -> Path:
    """Make a folder whose process has ended, unless changes say otherwise."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    owner = {"machine": processes.machine(), "pid": int(ended.stdout), "started": "before"}
    folder = parent / f"{session.PREFIX}{name}"
    folder.mkdir()
    (folder / "owner.json").write_text(json.dumps(owner | changes))
    return folder


def test_only_its_owner_enters_it_and_it_does_not_stay() -> None:
    with session.folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "r").mkdir()
    assert not folder.exists()


def test_those_of_dead_processes_go_and_others_stay(parent: Path) -> None:
    dead = left_behind(parent, "dead")
    elsewhere = left_behind(parent, "elsewhere", machine="another")
    damaged = left_behind(parent, "damaged", pid=None)
    unknown = parent / f"{session.PREFIX}unknown"
    unknown.mkdir()
    made_again = parent / f"{session.PREFIX}made-again"
    made_again.mkdir()
    os.utime(made_again, (0, 0))
    with session.folder() as living:
        assert not dead.exists() and not made_again.exists()
        with session.folder() as other:
            assert other != living
            assert all(f.exists() for f in (elsewhere, damaged, unknown, living))


def test_a_killed_process_leaves_one_for_the_next(parent: Path) -> None:
    code = f"""
import os, tempfile
tempfile.tempdir = {str(parent)!r}
from aa_ray.sweep import session
with session.folder():
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(parent.glob(f"{session.PREFIX}*"))) == 1
    with session.folder() as folder:
        assert list(parent.glob(f"{session.PREFIX}*")) == [folder]


def test_a_link_is_not_followed(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("target")
    kept = left_behind(target, "kept")
    (parent / f"{session.PREFIX}link").symlink_to(kept)
    with session.folder():
        assert kept.exists()


def test_a_path_too_long_for_sockets_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    with session.folder() as folder:
        assert session.ray_folder(folder) == {"_temp_dir": f"{folder}/r"}
        monkeypatch.setattr(session, "MOST_BYTES", 20)
        assert session.ray_folder(folder) == {}
