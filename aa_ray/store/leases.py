"""Leases: which driver runs which trial if several drivers share one results folder.

A driver is one run of a study's command. It rewrites ``drivers/<owner>.json`` periodically with new
content, and holds a lease ``leases/<trial_id>.<n>`` on each trial that it runs. A trial belongs to
the owner of the lease with the highest n. To take over from a dead holder, a driver creates the
lease n + 1, in which only one driver can succeed.

A driver counts as dead if its process has ended, which others on its machine can see, or if its
file has not changed for ``DEAD_SECONDS`` of the observer's clock. Modification times are not used,
since clocks differ and jump. So a suspended process or machine counts as dead too. It may resume
and finish a trial that another driver has started meanwhile. That does no harm: the first driver to
write a trial's rows has finished it (``Store.write``).

Some stores cannot create files exclusively (see ``Folder.exclusive``). There, each driver writes
its own file ``<trial_id>.<n>.<owner>`` and then lists the others. All but the first by name
withdraw. The first waits until it is alone, or withdraws too. Both protocols need a store whose
listings include all completed writes, as in S3 and Google Cloud Storage.
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

from aa_ray.errors import StorageError
from aa_ray.store import clock
from aa_ray.store.processes import Identity, digest
from aa_ray.store.storage import Folder

# A driver rewrites its file at the first interval; it is dead if it has not for the second.
BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0

# Without exclusive creation: how often, and at what interval, the first driver by name looks again.
LOOKS_AGAIN = 3
PAUSE_SECONDS = 1.0

# Files of drivers that cannot be proven dead are removed after this many seconds.
STALE_SECONDS = 24 * 3600

# The folders in which files are written.
PLACES = ("rows", "compacted", "checkpoints", "drivers", "leases")


class Lease(NamedTuple):
    """A file in ``leases/``."""

    name: str
    trial_id: str
    n: int
    owner: str  # "" if the store creates exclusively: then it is the content of the file

    @classmethod
    def from_name(cls, name: str) -> "Lease | None":
        """The lease with this file name; None for other files, such as an editor's copies."""
        parts = re.fullmatch(r"([^.]+)\.([0-9]{1,9})(?:\.([^~()]+))?", name)
        return cls(name, parts[1], int(parts[2]), parts[3] or "") if parts else None


class Leases:
    """This driver's leases; a context manager that keeps the driver's file alive.

    Args:
        folder: the results folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._self = Identity.of_this_process()
        self._held: dict[str, Lease] = {}  # by trial id
        self._beats = 0
        self._sights: dict[str, tuple[object, float]] = {}  # path -> last content, first seen when
        self._changed: set[str] = set()  # paths that were seen to change

    def __enter__(self) -> "Leases":
        self._beat()
        self._stop = clock.repeat(BEAT_SECONDS, self._keep_alive)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        with suppress(StorageError):
            for trial_id in list(self._held):
                self.release(trial_id)
            self._folder.delete(_driver(self._self.owner))

    def acquire(self, trial_id: str) -> bool:
        """Try to lease the trial; returns whether this driver may run it.

        Raises:
            StorageError: the results folder cannot be used.
        """
        leases = self._leases(trial_id)
        highest = max((lease.n for lease in leases), default=0)
        holders = [lease for lease in leases if lease.n == highest and self._lives(lease)]
        mine = [lease for lease in holders if lease.owner == self._self.owner]
        if mine and trial_id not in self._held:  # created, but the store's answer was lost
            if len(holders) == 1:
                self._held[trial_id] = mine[0]
                return True
            self._folder.delete(f"leases/{mine[0].name}")
        if holders:
            return False
        lease = self._create(trial_id, highest + 1)
        if lease is None:
            return False
        if not self._alone(lease):
            self._folder.delete(f"leases/{lease.name}")
            return False
        self._held[trial_id] = lease
        return True

    def acquire_or_know(self, trial_id: str) -> bool:
        """Lease as ``acquire`` does, but wait until it is known whether the holder is dead.

        For callers that ask only once: a holder on another machine is known to be dead only after
        a period of silence.
        """
        while not self.acquire(trial_id):
            leases = self._leases(trial_id)
            highest = max((lease.n for lease in leases), default=0)
            if any(self._surely_lives(lease) for lease in leases if lease.n == highest):
                return False
            clock.sleep(BEAT_SECONDS / 4)
        return True

    def release(self, trial_id: str) -> None:
        """Give up the lease, since the trial is finished or returned to the queue.

        This also removes earlier leases of dead holders. A lease that another driver has taken over
        meanwhile stays.

        Raises:
            StorageError: the results folder cannot be used.
        """
        mine = self._held.pop(trial_id, None)
        if mine is None:
            return
        for lease in self._named(trial_id):
            if lease.n < mine.n:
                self._folder.delete(f"leases/{lease.name}")
        self._folder.delete(f"leases/{mine.name}")

    def tidy(self, finished: set[str]) -> None:
        """Remove the leftovers of killed drivers: leases, their files, and half-written files.

        Args:
            finished: trials that have finished (not failed), whose leases nobody needs any more.

        Raises:
            StorageError: the results folder cannot be used.
        """
        for name in self._folder.names("leases"):
            lease = Lease.from_name(name)
            path = f"leases/{name}"
            if (lease is not None and lease.trial_id in finished) or self._is_stale(path):
                self._folder.delete(path)
        for name in self._folder.names("drivers"):
            path = f"drivers/{name}"
            if not self._driver_lives(name.removesuffix(".json")) or self._is_stale(path):
                self._folder.delete(path)
        for place in PLACES:
            self._folder.remove_stale_parts(place)

    def _create(self, trial_id: str, n: int) -> Lease | None:
        """Create a lease for this driver; None if another driver was faster."""
        owner = self._self.owner
        content = f"{owner} {digest(owner)}".encode()
        if self._folder.exclusive():
            lease = Lease(f"{trial_id}.{n}", trial_id, n, owner)
            created = self._folder.write_once(f"leases/{lease.name}", content)
            return lease if created else None
        lease = Lease(f"{trial_id}.{n}.{owner}", trial_id, n, owner)
        self._folder.write(f"leases/{lease.name}", content)
        return lease

    def _alone(self, mine: Lease) -> bool:
        """Whether no other driver has this lease or has taken over meanwhile."""
        for _ in range(1 + LOOKS_AGAIN):
            others = [
                lease
                for lease in self._leases(mine.trial_id)
                if lease.owner != mine.owner
                and (lease.n > mine.n or (lease.n == mine.n and self._lives(lease)))
            ]
            if not others:
                return True
            if any(lease.n > mine.n or lease.owner < mine.owner for lease in others):
                return False
            clock.sleep(PAUSE_SECONDS)
        return False

    def _named(self, trial_id: str) -> list[Lease]:
        """The trial's leases, as far as file names tell."""
        leases = map(Lease.from_name, self._folder.names("leases"))
        return [lease for lease in leases if lease is not None and lease.trial_id == trial_id]

    def _leases(self, trial_id: str) -> list[Lease]:
        """The trial's leases, with their owners."""
        leases = []
        for lease in self._named(trial_id):
            if not lease.owner:
                try:
                    content = self._folder.read(f"leases/{lease.name}")
                except FileNotFoundError:  # it was just released
                    continue
                lease = lease._replace(owner=_owner(content))
            leases.append(lease)
        return leases

    def _lives(self, lease: Lease) -> bool:
        """Whether the lease's owner may still be running the trial."""
        if lease.owner:
            return self._driver_lives(lease.owner)
        # An older version is writing it right now, or it is damaged: it counts for a while.
        return self._changes(f"leases/{lease.name}", lease)

    def _driver_lives(self, owner: str) -> bool:
        if owner == self._self.owner:
            return True
        try:
            content = self._folder.read(_driver(owner))
        except FileNotFoundError:
            return False
        identity = Identity.from_json(content)
        if identity is not None and identity.runs_here() is False:
            return False
        written = self._folder.modified(_driver(owner))  # older versions rewrite the same content
        return self._changes(_driver(owner), (content, written))

    def _surely_lives(self, lease: Lease) -> bool:
        """Whether the lease's owner has been seen alive."""
        if _driver(lease.owner) in self._changed or lease.owner == self._self.owner:
            return True
        try:
            identity = Identity.from_json(self._folder.read(_driver(lease.owner)))
        except (FileNotFoundError, StorageError):
            return False
        return identity is not None and identity.runs_here() is True

    def _changes(self, path: str, sight: object) -> bool:
        """Whether the file has changed within the last ``DEAD_SECONDS`` of this driver's clock."""
        now = clock.monotonic()
        before, since = self._sights.get(path, (None, now))
        if before != sight:
            if before is not None:
                self._changed.add(path)
            self._sights[path] = (sight, now)
            since = now
        return now - since < DEAD_SECONDS

    def _is_stale(self, path: str) -> bool:
        """Whether the file was written long before this driver's, by the file system's clock."""
        written = self._folder.modified(path)
        ours = self._folder.modified(_driver(self._self.owner))
        if written is None or ours is None:
            return False
        return abs(ours - written) > STALE_SECONDS

    def _beat(self) -> None:
        self._beats += 1
        values = asdict(self._self) | {"beat": self._beats}
        content = json.dumps(values | {"sha256": digest(json.dumps(values))})
        self._folder.write(_driver(self._self.owner), content.encode())

    def _keep_alive(self) -> None:
        with suppress(StorageError):  # writing the trials' rows will report it
            self._beat()


def _driver(owner: str) -> str:
    return f"drivers/{owner}.json"


def _owner(content: bytes) -> str:
    """The owner in a lease's content; "" if it is damaged.

    Older versions wrote the owner without a digest.
    """
    owner, _, sealed = content.decode("utf-8", "replace").partition(" ")
    whole = re.fullmatch(r"[\w.-]{1,300}", owner) and sealed in ("", digest(owner))
    return owner if whole else ""
