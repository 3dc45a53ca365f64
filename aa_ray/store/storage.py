"""Files in a results folder, which may be local, shared, or an object store.

A file is either complete or absent. Rows, checkpoints and leases are all in one results folder: a
local path, or a URI of a file system that pyarrow supports (s3://, gs://, hdfs://). Paths in this
module are relative to it. ``local.py`` works on file systems, ``objects.py`` on object stores; this
module resolves paths and turns failures into ``StorageError``.
"""

import re
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from aa_ray.errors import StorageError, UsageError
from aa_ray.store.bucket import bucket
from aa_ray.store.local import LocalFiles
from aa_ray.store.objects import ObjectFiles

# Folder of the files that test the store's features; ``Leases.tidy`` removes leftovers.
PROBES = "leases"

# The kernel shows its state here, and no files can be kept.
KERNEL = ("/proc", "/sys")

# Without a limit Google's client tries for fifteen minutes.
GOOGLE_SECONDS = 20


class Folder:
    """A folder that several processes and machines may use at the same time.

    Args:
        uri: local path, or a URI of a file system that pyarrow supports. ``self.uri`` is absolute,
            since workers have another working folder.
        answered: whether another process has used it before; see ``ObjectFiles``.

    Raises:
        UsageError: unknown scheme, or no folder can exist there.
    """

    def __init__(self, uri: str, answered: bool = False) -> None:
        if not uri.strip():
            raise UsageError("--results: empty; expected a folder or a URI")
        try:
            self.uri, self._root, self._files = _opened(uri, answered)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"--results {uri}: cannot be used ({error}); expected a folder or a URI such as "
                "s3://bucket/folder"
            ) from error

    @property
    def local(self) -> bool:
        """Whether it is a path on this machine (including shared file systems)."""
        return isinstance(self._files, LocalFiles)

    def exclusive(self) -> bool:
        """Whether exactly one of several concurrent ``write_once`` calls succeeds.

        This holds on file systems with hard links, and on S3 if boto3 is installed. It is found by
        trying.

        Raises:
            StorageError: as for ``write``.
        """
        with self._writing():
            return self._files.exclusive()

    def check_writable(self) -> None:
        """Check by writing a file.

        Raises:
            UsageError: nothing can be written there.
        """
        probe = f"{PROBES}/.writable-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"aa_ray")
            self.delete(probe)
        except StorageError as error:
            raise UsageError(f"--results {self.uri}: {error}") from error

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write the file, replacing an earlier one; atomic even on a kill or power loss.

        Raises:
            StorageError: disk full, read-only, no permission, unreachable.
        """
        with self._writing():
            self._files.write(f"{self._root}/{path}", content)

    def write_once(self, path: str, content: bytes | pa.Buffer) -> bool:
        """Write the file atomically unless it exists; returns whether this call wrote it.

        If ``exclusive``, exactly one of several concurrent calls succeeds. Otherwise this checks
        first and then writes. If an object store's answer was lost, this may return False although
        it wrote.

        Raises:
            StorageError: as for ``write``.
        """
        with self._writing():
            return self._files.create(f"{self._root}/{path}", content)

    def read(self, path: str) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: it does not exist.
            StorageError: it cannot be read.
        """
        try:
            return self._files.read(f"{self._root}/{path}")
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"cannot read {self.uri}/{path} ({reason(error)})") from error

    def read_part(self, path: str, offset: int, size: int) -> bytes:
        """``size`` bytes of the file from the offset; fewer at its end.

        Raises:
            FileNotFoundError: it does not exist.
            StorageError: it cannot be read.
        """
        try:
            return self._files.read_part(f"{self._root}/{path}", offset, size)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"cannot read {self.uri}/{path} ({reason(error)})") from error

    def delete(self, path: str) -> None:
        """Remove the file; not an error if it does not exist.

        Raises:
            StorageError: as for ``write``.
        """
        with self._writing():
            self._files.delete(f"{self._root}/{path}")

    def move(self, path: str, to: str) -> None:
        """Move the file within the folder, replacing a file at ``to``.

        Raises:
            FileNotFoundError: it does not exist.
            StorageError: as for ``write``.
        """
        try:
            self._files.move(f"{self._root}/{path}", f"{self._root}/{to}")
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise self._cannot_write(error) from error

    def exists(self, path: str) -> bool:
        return self.modified(path) is not None

    def modified(self, path: str) -> float | None:
        """The file's modification time by the file system's clock; None if it does not exist."""
        with self._reading(path):
            return self._files.modified(f"{self._root}/{path}")

    def names(self, path: str) -> list[str]:
        """Names of the files directly in a folder, sorted, without half-written files."""
        with self._reading(path):
            return sorted(self._files.names(f"{self._root}/{path}"))

    def free_bytes(self) -> int | None:
        """Free space in bytes; None for an object store."""
        with self._reading(""):
            return self._files.free_bytes(self._root)

    def remove_stale_parts(self, path: str) -> None:
        """Remove half-written files of killed processes."""
        with self._writing():
            self._files.remove_stale_parts(f"{self._root}/{path}")

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise StorageError(f"cannot read {self.uri}/{path} ({reason(error)})") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: Exception) -> StorageError:
        what = f"cannot write to {self.uri} ({reason(error)})"
        if self.local:
            return StorageError(
                f"{what}; free some space or use another --results, then run the same command again"
            )
        return StorageError(f"{what}; run the same command again when the store answers")


def _opened(uri: str, answered: bool) -> tuple[str, str, LocalFiles | ObjectFiles]:
    """The absolute URI, its path within the file system, and access to the files."""
    if re.match(r"[a-z][a-z0-9+.-]+:/(?!/)", uri):
        raise OSError("a URI has two slashes after its scheme")
    if "://" in uri:
        filesystem, root = fs.FileSystem.from_uri(_checked(uri))
    else:
        uri = root = str(Path(uri).expanduser().resolve())
        filesystem = fs.LocalFileSystem()
    if filesystem.get_file_info(root).type == fs.FileType.File:
        raise NotADirectoryError("it is a file")
    root = root.rstrip("/")
    if isinstance(filesystem, fs.LocalFileSystem):
        _check_local(Path(root))
        return uri.rstrip("/"), root, LocalFiles(f"{root}/{PROBES}")
    return uri.rstrip("/"), root, ObjectFiles(bucket(uri, filesystem), f"{root}/{PROBES}", answered)


def _checked(uri: str) -> str:
    """The URI for pyarrow, with a limit on how long a Google bucket is tried."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        if parts.query or parts.fragment or not parts.path.strip("/"):
            raise OSError("a file:// URI has a path and no options")
        return uri
    if not parts.netloc:
        raise OSError("it names no bucket or host")
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
        uri += ("&" if parts.query else "?") + f"retry_limit_seconds={GOOGLE_SECONDS}"
    return uri


def _check_local(root: Path) -> None:
    """Refuse paths at which no folder can exist."""
    if root.exists() and not root.is_dir():
        raise NotADirectoryError("it is not a folder")
    above = next((p for p in root.parents if p.exists() and not p.is_dir()), None)
    if above is not None:
        raise NotADirectoryError(
            f"{above} is a file" if above.is_file() else f"{above} is no folder"
        )
    if any(root.is_relative_to(kernel) for kernel in KERNEL):
        raise OSError("the kernel keeps that folder")


def reason(error: Exception) -> str:
    """The system's message without Python's or Arrow's decoration."""
    if isinstance(error, OSError) and error.strerror and "Detail:" not in error.strerror:
        return error.strerror
    first = str(error).splitlines()[0]
    detail = re.search(r"Detail: (?:\[errno \d+\] )?(.+)", first)
    return detail[1] if detail else first
