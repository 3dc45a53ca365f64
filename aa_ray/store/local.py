"""Files of a results folder on a file system: complete or absent, even after a power cut."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

from aa_ray.store import clock
from aa_ray.store.posix import Posix

# Unfinished writes of killed processes are removed after this many seconds, since clocks may be
# wrong by hours.
STALE_PART_SECONDS = 24 * 3600

# Errors of ``link`` on file systems without hard links.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

PART = ".part"


class LocalFiles:
    """A disk of this machine or a shared file system. Paths are absolute.

    Each file is written under a temporary name in the same folder, synced to disk, and renamed.
    Then the folder is synced as well. Without the first sync a power cut leaves files of zeros;
    without the second it loses files that had been reported as written.

    Args:
        probes: the folder for trying out what the file system supports.
        posix: the system calls.
    """

    def __init__(self, probes: str, posix: Posix | None = None) -> None:
        self._probes = probes
        self._posix = posix or Posix()
        self._exclusive: bool | None = None

    def read(self, path: str) -> bytes:
        return self._posix.read(path)

    def read_part(self, path: str, offset: int, size: int) -> bytes:
        return self._posix.read(path, offset, size)

    def modified(self, path: str) -> float | None:
        return self._posix.modified(path)

    def names(self, folder: str) -> list[str]:
        return [name for name in self._posix.names(folder) if not name.endswith(PART)]

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write the file, replacing an earlier one."""
        with self._beside(path, content) as temporary:
            self._posix.rename(temporary, path)
            self._posix.sync(_folder(path))

    def create(self, path: str, content: bytes | pa.Buffer) -> bool:
        """Write the file unless it exists; returns whether this call wrote it.

        If ``exclusive``, exactly one of several concurrent calls succeeds. Otherwise this checks
        first and then writes.
        """
        if self._posix.modified(path) is not None:
            return False
        with self._beside(path, content) as temporary:
            try:
                self._posix.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                self._posix.rename(temporary, path)
            self._posix.sync(_folder(path))
        return True

    def exclusive(self) -> bool:
        """Whether the file system has hard links, which ``create`` needs; found by trying."""
        if self._exclusive is None:
            probe = f"{self._probes}/{uuid.uuid4().hex}{PART}"
            with self._beside(probe, b"") as temporary:
                try:
                    self._posix.link(temporary, probe)
                    self._exclusive = True
                    self.delete(probe)
                except OSError as error:
                    if error.errno not in NO_LINKS:
                        raise
                    self._exclusive = False
        return self._exclusive

    def delete(self, path: str) -> None:
        """Delete the file; not an error if it does not exist."""
        with suppress(FileNotFoundError):
            self._posix.unlink(path)

    def move(self, path: str, to: str) -> None:
        self._posix.make_folder(_folder(to))
        self._posix.rename(path, to)
        self._posix.sync(_folder(to))

    def free_bytes(self, folder: str) -> int | None:
        return self._posix.free(folder)

    def remove_stale_parts(self, folder: str) -> None:
        """Remove half-written files of killed processes."""
        for name in self._posix.names(folder):
            if not name.endswith(PART):
                continue
            path = f"{folder}/{name}"
            written = self._posix.modified(path)
            if written is not None and abs(clock.wall() - written) > STALE_PART_SECONDS:
                self.delete(path)

    @contextmanager
    def _beside(self, path: str, content: bytes | pa.Buffer) -> Iterator[str]:
        """A temporary file beside the path with that content, synced to disk; finally removed."""
        self._posix.make_folder(_folder(path))
        temporary = f"{path}.{uuid.uuid4().hex}{PART}"
        try:
            self._posix.put(temporary, content)
            self._posix.sync(temporary)
            yield temporary
        finally:
            self.delete(temporary)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
