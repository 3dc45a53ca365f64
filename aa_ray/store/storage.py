"""Files in a folder that may be local, shared, or an object store: whole or not there at all.

Rows, checkpoints and leases all lie under one results folder, a local path or a URI of a file
system that pyarrow knows (s3://, gs://, hdfs://). Paths here are relative to that folder.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from aa_ray.errors import StorageError, UsageError

# Unfinished writes of processes that were killed are removed after so many seconds.
STALE_PART_SECONDS = 3600


class Folder:
    """A folder that several processes and machines may use at the same time.

    Args:
        uri: local path, or a URI of a file system that pyarrow knows. ``self.uri`` is absolute,
            since workers have another working folder.

    Raises:
        UsageError: unknown scheme, or nothing can be there.
    """

    def __init__(self, uri: str) -> None:
        if not uri.strip():
            raise UsageError("--results: empty; expected a folder or a URI")
        try:
            if "://" in uri:
                self._fs, root = fs.FileSystem.from_uri(uri)
            else:
                uri = root = str(Path(uri).expanduser().resolve())
                self._fs = fs.LocalFileSystem()
            if self._fs.get_file_info(root).type == fs.FileType.File:
                raise NotADirectoryError("it is a file")
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(
                f"--results {uri}: cannot be used ({error}); expected a folder or a URI such as "
                "s3://bucket/folder"
            ) from error
        self.uri = uri.rstrip("/")
        self._root = root.rstrip("/")

    @property
    def local(self) -> bool:
        """Whether it is a path of this machine (a shared file system included)."""
        return isinstance(self._fs, fs.LocalFileSystem)

    def check_writable(self) -> None:
        """Try it out.

        Raises:
            UsageError: nothing can be written there.
        """
        probe = f".writable-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"aa_ray")
            self.delete(probe)
        except StorageError as error:
            raise UsageError(f"--results {self.uri}: {error}") from error

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        """Put the file in place of an earlier one, whole or not at all, even if killed or on power
        loss.

        Raises:
            StorageError: disk full, read-only, no permission.
        """
        try:
            target = self._make_parent(path)
            if self.local:
                with _written_beside(target, content) as temporary:
                    temporary.replace(target)
            else:
                with self._fs.open_output_stream(target) as stream:  # one PUT: whole or absent
                    stream.write(content)
        except (pa.ArrowException, OSError) as error:
            raise StorageError(
                f"cannot write to {self.uri} ({reason(error)}); make room or give another "
                "--results, then run the same command again"
            ) from error

    def write_once(self, path: str, content: bytes | pa.Buffer) -> bool:
        """Write the file, whole or not at all, unless there is one; whether this call did.

        Of several processes that try at the same time one succeeds. An object store, and a file
        system without hard links, cannot promise that: there this looks first, then writes.

        Raises:
            StorageError: as for ``write``.
        """
        if self.exists(path):
            return False
        if self.local:
            try:
                target = self._make_parent(path)
                with _written_beside(target, content) as temporary:
                    os.link(temporary, target)
                return True
            except FileExistsError:
                return False
            except OSError:  # no links here, or no room: then ``write`` says so
                pass
        self.write(path, content)
        return True

    def create(self, path: str, content: bytes) -> bool:
        """Create the file if nobody else has; whether this call did. For local folders only.

        Raises:
            StorageError: as for ``write``.
        """
        try:
            with open(self._make_parent(path), "xb") as stream:
                stream.write(content)
        except FileExistsError:
            return False
        except OSError as error:
            raise StorageError(f"cannot write to {self.uri} ({reason(error)})") from error
        return True

    def read(self, path: str) -> bytes:
        """The file's content.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._fs.open_input_stream(f"{self._root}/{path}") as stream:
            return stream.read()

    def read_part(self, path: str, start: int, size: int) -> bytes:
        """Up to ``size`` bytes of the file from ``start`` on.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._fs.open_input_file(f"{self._root}/{path}") as stream:
            return stream.read_at(size, start)

    def delete(self, path: str) -> None:
        """Remove the file; not an error where there is none."""
        try:
            self._fs.delete_file(f"{self._root}/{path}")
        except FileNotFoundError:
            pass
        except OSError:
            if self.exists(path):
                raise

    def move(self, path: str, to: str) -> None:
        """Give the file another place in the folder."""
        self._fs.move(f"{self._root}/{path}", self._make_parent(to))

    def exists(self, path: str) -> bool:
        info = self._fs.get_file_info(f"{self._root}/{path}")
        return info.type == fs.FileType.File

    def modified(self, path: str) -> float | None:
        """When the file was written, in seconds of the file system's own clock; None without."""
        info = self._fs.get_file_info(f"{self._root}/{path}")
        return None if info.type == fs.FileType.NotFound else info.mtime.timestamp()

    def names(self, path: str) -> list[str]:
        """Names of the files directly in a folder, sorted; those half written are left out."""
        selector = fs.FileSelector(f"{self._root}/{path}", allow_not_found=True)
        files = (f for f in self._fs.get_file_info(selector) if f.type == fs.FileType.File)
        return sorted(f.base_name for f in files if not f.base_name.endswith(".part"))

    def free_bytes(self) -> int | None:
        """Space left; None for an object store."""
        if not self.local:
            return None
        return shutil.disk_usage(self._nearest()).free

    def remove_stale_parts(self, path: str) -> None:
        """Remove what killed processes have left half written."""
        if self.local:
            for part in Path(self._root, path).glob("*.part"):
                try:
                    if time.time() - part.stat().st_mtime > STALE_PART_SECONDS:
                        part.unlink()
                except OSError:
                    continue  # another process was faster

    def _nearest(self) -> Path:
        """The folder, or the nearest one above it that exists."""
        candidates = [Path(self._root), *Path(self._root).parents]
        return next(path for path in candidates if path.exists())

    def _make_parent(self, path: str) -> str:
        target = f"{self._root}/{path}"
        self._fs.create_dir(target.rsplit("/", 1)[0], recursive=True)
        return target


@contextmanager
def _written_beside(target: str, content: bytes | pa.Buffer) -> Iterator[Path]:
    """A file beside the target with that content, on disk, for as long as it is not renamed.

    So nobody ever sees half of the target.
    """
    temporary = Path(f"{target}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """What the system says, without Python's or Arrow's decoration."""
    if isinstance(error, OSError) and error.strerror and "Detail:" not in error.strerror:
        return error.strerror
    first = str(error).splitlines()[0]
    detail = re.search(r"Detail: (?:\[errno \d+\] )?(.+)", first)
    return detail[1] if detail else first
