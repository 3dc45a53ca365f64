"""The system calls behind a local results folder, one method each; ``local.py`` uses them.

They are separate so that the simulator can replace them by a disk that loses power, fills up or
reorders writes (``tests/simulator``).
"""

import errno
import os
import shutil
import stat
from pathlib import Path

import pyarrow as pa


class Posix:
    """The machine's file systems. Paths are absolute; errors are the system's."""

    def put(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write the file. Until ``sync``, a power cut may leave any part of it."""
        with open(path, "wb") as stream:
            stream.write(content)

    def sync(self, path: str) -> None:
        """Sync a file's content, or a folder's list of names, to the disk."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems do not sync folders
                raise
        finally:
            os.close(handle)

    def rename(self, path: str, to: str) -> None:
        """Rename the file, replacing a file at ``to``."""
        os.replace(path, to)

    def link(self, path: str, to: str) -> None:
        """Give the file a second name.

        Raises:
            FileExistsError: a file exists at ``to``.
        """
        os.link(path, to)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """The file's content, or a part; anything else, such as a pipe, counts as absent."""
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileNotFoundError(path)
        with open(path, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def names(self, folder: str) -> list[str]:
        """Names of the regular files in the folder; empty if the folder does not exist."""
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def modified(self, path: str) -> float | None:
        """The file's modification time by the file system's clock; None if it does not exist."""
        try:
            return os.stat(path).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_folder(self, folder: str) -> None:
        """Create the folder and its parents, and sync them to disk."""
        path = Path(folder)
        if path.is_dir():
            return
        missing = [p for p in (path, *path.parents) if not p.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for new in missing:
            self.sync(str(new.parent))

    def free(self, folder: str) -> int:
        """Free bytes on the file system of the folder, which need not exist yet."""
        path = Path(folder)
        return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free
