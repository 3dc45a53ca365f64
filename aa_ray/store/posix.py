"""The system calls behind a local results folder, each a method.

``local.py`` says what is done with them. They are apart from it so that a disk that loses its
power, fills up or reorders writes can be put in their place (``tests/simulator``).
"""

import errno
import os
import shutil
import stat
from pathlib import Path

import pyarrow as pa


class Posix:
    """The machine's file systems. Paths are absolute; errors are those of the system."""

    def put(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write the file. Until ``sync``, a power cut may leave anything of it."""
        with open(path, "wb") as stream:
            stream.write(content)

    def sync(self, path: str) -> None:
        """Bring a file's content, or a folder's list of names, to the disk."""
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that does not sync folders
                raise
        finally:
            os.close(handle)

    def rename(self, path: str, to: str) -> None:
        """Replaces a file at ``to``."""
        os.replace(path, to)

    def link(self, path: str, to: str) -> None:
        """A second name for the file.

        Raises:
            FileExistsError: there is a file at ``to``.
        """
        os.link(path, to)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        """The file's content, or a part; what is no regular file, such as a pipe, is not there."""
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileNotFoundError(path)
        with open(path, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def names(self, folder: str) -> list[str]:
        """Names of the regular files in the folder; none where there is no folder."""
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def modified(self, path: str) -> float | None:
        """When the file was written, in seconds by the file system's clock; None without file."""
        try:
            return os.stat(path).st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_folder(self, folder: str) -> None:
        """The folder and those above it, on disk."""
        path = Path(folder)
        if path.is_dir():
            return
        missing = [p for p in (path, *path.parents) if not p.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for new in missing:
            self.sync(str(new.parent))

    def free(self, folder: str) -> int:
        """Bytes left where the folder is, or will be."""
        path = Path(folder)
        return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free
