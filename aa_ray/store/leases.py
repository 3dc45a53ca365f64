"""Who runs which trial, where several drivers share one results folder.

A driver is one run of a study's command. It keeps ``drivers/<owner>.json`` alive by writing it
again and again, and holds a lease ``leases/<trial_id>.<n>`` on every trial that it runs. The
holder of a trial is the owner in the file with the highest n; to take over from a dead holder is to
create n + 1, which only one of several can.

An object store cannot create exclusively. There, each writes a file of its own,
``<trial_id>.<n>.<owner>``, looks who else has, and withdraws if anybody else did: two who meet
both withdraw, so that one trial never has two holders, and come back later.
"""

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from aa_ray.errors import StorageError
from aa_ray.store.storage import Folder

# A driver writes its file this often, and is dead if it has not for the other.
BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0


@dataclass(frozen=True)
class Identity:
    """A process, so that others on its machine can see whether it still runs.

    Attributes:
        owner: name of the driver, different in every run.
        machine: this boot of the machine and this namespace of process numbers.
        started: the process's start time in the kernel's clock, since numbers are used again.
    """

    owner: str
    host: str
    machine: str
    pid: int
    started: str

    @classmethod
    def of_this_process(cls) -> "Identity":
        pid = os.getpid()
        host = socket.gethostname()
        return cls(f"{host}-{pid}-{uuid.uuid4().hex[:8]}", host, _machine(), pid, _started(pid))

    def runs_here(self) -> bool | None:
        """Whether the process runs; None if it is one of another machine."""
        if not self.machine or self.machine != _machine():
            return None
        return _started(self.pid) == self.started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: a dead driver is known by its silence only
        return ""


def _started(pid: int) -> str:
    """The process's start time; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start


class Leases:
    """This driver's leases; a context, in which its file is kept alive.

    Args:
        folder: the results folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._self = Identity.of_this_process()
        self._held: set[str] = set()  # trial ids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> "Leases":
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(BEAT_SECONDS)
        with suppress(OSError):
            for trial_id in list(self._held):
                self.release(trial_id)
            self._folder.delete(_driver(self._self.owner))

    def acquire(self, trial_id: str) -> bool:
        """Whether the trial is this driver's to run from now on.

        Raises:
            StorageError: the results folder cannot be written to.
        """
        found = self._leases(trial_id)
        highest = max(found, default=0)
        if any(self._lives(owner) for owner in found.get(highest, ())):
            return False
        name = f"leases/{trial_id}.{highest + 1}"
        if self._folder.local:
            if not self._folder.create(name, self._self.owner.encode()):
                return False
        else:
            name += f".{self._self.owner}"
            self._folder.write(name, self._self.owner.encode())
            if len(self._leases(trial_id).get(highest + 1, ())) > 1:
                self._folder.delete(name)
                return False
        self._held.add(trial_id)
        return True

    def release(self, trial_id: str) -> None:
        """The trial has its rows, or is given back; what dead holders left goes as well."""
        self._held.discard(trial_id)
        for name in self._names(trial_id):
            self._folder.delete(f"leases/{name}")

    def tidy(self, finished: set[str]) -> None:
        """Remove what killed drivers left: leases of trials that have rows, files of dead drivers,
        and what was half written."""
        for name in self._folder.names("leases"):
            if name.split(".")[0] in finished:
                self._folder.delete(f"leases/{name}")
        for name in self._folder.names("drivers"):
            if not self._lives(name.removesuffix(".json")):
                self._folder.delete(f"drivers/{name}")
        for place in ("rows", "checkpoints", "drivers"):
            self._folder.remove_stale_parts(place)

    def _names(self, trial_id: str) -> list[str]:
        return [n for n in self._folder.names("leases") if n.startswith(f"{trial_id}.")]

    def _leases(self, trial_id: str) -> dict[int, list[str]]:
        """n -> the owners of the trial's lease n."""
        found: dict[int, list[str]] = {}
        for name in self._names(trial_id):
            _, n, *owner = name.split(".", 2)
            with suppress(FileNotFoundError):  # released just now
                who = owner[0] if owner else self._folder.read(f"leases/{name}").decode()
                owners = found.setdefault(int(n), [])
                if who or self._fresh(f"leases/{name}"):  # empty while its owner writes it
                    owners.append(who)
        return found

    def _lives(self, owner: str) -> bool:
        if owner in ("", self._self.owner):
            return True
        try:
            identity = Identity(**json.loads(self._folder.read(_driver(owner))))
        except FileNotFoundError:
            return False
        except (ValueError, TypeError):
            identity = None
        here = identity.runs_here() if identity else None
        return self._fresh(_driver(owner)) if here is None else here

    def _fresh(self, path: str) -> bool:
        """Whether the file was written of late.

        Compared with this driver's own file: both times are of the file system's clock, so the
        machines' clocks may differ.
        """
        theirs = self._folder.modified(path)
        ours = self._folder.modified(_driver(self._self.owner))
        return theirs is not None and ours is not None and ours - theirs < DEAD_SECONDS

    def _beat(self) -> None:
        content = json.dumps(asdict(self._self)).encode()
        self._folder.write(_driver(self._self.owner), content)

    def _keep_alive(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(StorageError):  # the trials will say so
                self._beat()


def _driver(owner: str) -> str:
    return f"drivers/{owner}.json"
