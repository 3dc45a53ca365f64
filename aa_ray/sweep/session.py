"""The folder in which a run's Ray and Tune keep sockets, logs and their own records.

Ray's default is /tmp/ray, where every user of the machine may replace its sockets, and where
sessions accumulate. A local run has a folder that only its owner can enter. The run removes it at
its end. If the run is killed, the next run removes it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aa_ray.store import processes

PREFIX = "aa_ray_session_"

# On Linux a socket's path has at most 107 bytes, of which Ray uses these below the folder.
MOST_BYTES = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")

_OWNER = "owner.json"

# How long Ray's last processes may outlive their driver.
LATE_SECONDS = 3600.0


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for this process's Ray and Tune, until the context ends.

    Folders of dead processes are removed first.
    """
    parent = Path(tempfile.gettempdir()).resolve()
    for left in parent.glob(f"{PREFIX}*"):
        if _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # with mode 0700
    pid = processes.number()
    owner = {"machine": processes.machine(), "pid": pid, "started": processes.started(pid)}
    (made / _OWNER).write_text(json.dumps(owner))
    try:
        yield made
    finally:  # Ray's last processes may still write; the next run removes the rest
        shutil.rmtree(made, ignore_errors=True)


def ray_folder(folder: Path) -> dict[str, str]:
    """The argument of ``ray.init``; empty if the path would be too long for sockets.

    Ray gives everybody access to its folder, so that folder is inside the closed one.
    """
    below = folder / "r"
    return {"_temp_dir": str(below)} if len(os.fsencode(below)) <= MOST_BYTES else {}


def _is_abandoned(folder: Path) -> bool:
    """Whether the folder is this user's, and its process on this machine has ended."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        if not (folder / _OWNER).exists():  # created again by Ray's last processes
            return time.time() - status.st_mtime > LATE_SECONDS
        owner = json.loads((folder / _OWNER).read_text())
        same = owner["machine"] == processes.machine()
        return bool(same and processes.started(int(owner["pid"])) != owner["started"])
    return False
