"""A disk that loses power, fills up, and keeps only synced data."""

import errno
import os
import random
from dataclasses import dataclass, field

from aa_ray.store.posix import Posix
from tests.simulator.world import World


@dataclass(eq=False)
class Inode:
    """A file. ``synced`` is its content on the disk, or None if it was never synced."""

    content: bytes
    modified: float
    synced: bytes | None = None


@dataclass
class Names:
    """A folder. ``synced`` is its list of names on the disk."""

    files: dict[str, Inode] = field(default_factory=dict)
    synced: dict[str, Inode] = field(default_factory=dict)


class Disk(Posix):
    """The system calls of ``Posix`` on files in memory.

    Attributes:
        full: whether there is no room for another byte.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.folders: dict[str, Names] = {}
        self.full = False

    def put(self, path: str, content: bytes) -> None:
        content = bytes(content)
        self._world.operation(f"put {path}")
        folder, name = self._place(path)
        inode = Inode(b"", self._time())
        folder.files[name] = inode
        room = self._world.random.randrange(len(content)) if content else 0
        inode.content = content[:room]
        self._world.operation(f"go on putting {path}")
        if self.full and content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        inode.content, inode.modified = content, self._time()
        self._world.after(f"put {path}")

    def sync(self, path: str) -> None:
        self._world.operation(f"sync {path}")
        if path in self.folders:
            self.folders[path].synced = dict(self.folders[path].files)
        else:
            inode = self._inode(path)
            inode.synced = inode.content
        self._world.after(f"sync {path}")

    def rename(self, path: str, to: str) -> None:
        self._world.operation(f"rename {path} {to}")
        inode = self._inode(path)
        self._unname(path)
        self._name(to, inode)
        self._world.after(f"rename {to}")

    def link(self, path: str, to: str) -> None:
        self._world.operation(f"link {path} {to}")
        folder, name = self._place(to)
        if name in folder.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._name(to, self._inode(path))
        self._world.after(f"link {to}")

    def unlink(self, path: str) -> None:
        self._world.operation(f"unlink {path}")
        self._inode(path)
        self._unname(path)
        self._world.after(f"unlink {path}")

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self._world.operation(f"read {path}")
        content = self._inode(path).content[offset:]
        return content if size < 0 else content[:size]

    def names(self, folder: str) -> list[str]:
        self._world.operation(f"list {folder}")
        return list(self.folders[folder].files) if folder in self.folders else []

    def modified(self, path: str) -> float | None:
        self._world.operation(f"stat {path}")
        folder, name = self._place(path)
        inode = folder.files.get(name)
        return inode.modified if inode else None

    def make_folder(self, folder: str) -> None:
        self.folders.setdefault(folder, Names())

    def free(self, folder: str) -> int:
        return 10**12

    def lose_power(self, rng: random.Random) -> None:
        """Keep synced data; of everything else keep any part, or zeros in its place."""
        for folder in self.folders.values():
            files = {}
            for name in sorted({*folder.files, *folder.synced}):
                new, old = folder.files.get(name), folder.synced.get(name)
                inode = new if new is old or rng.random() < 0.5 else old
                if inode is not None:
                    files[name] = inode
            folder.files = files
            folder.synced = dict(files)
        for folder in self.folders.values():
            for inode in folder.files.values():
                _lose(inode, rng)

    def all_files(self) -> dict[str, bytes]:
        """Return path -> content, without counting as an operation."""
        return {
            f"{folder}/{name}": inode.content
            for folder, names in self.folders.items()
            for name, inode in names.files.items()
        }

    def replace(self, path: str, content: bytes) -> None:
        """Damage the file by replacing its content."""
        inode = self._inode(path)
        inode.content = inode.synced = content

    def _time(self) -> float:
        return self._world.now + self._world.skew

    def _place(self, path: str) -> tuple[Names, str]:
        folder, _, name = path.rpartition("/")
        return self.folders.setdefault(folder, Names()), name

    def _inode(self, path: str) -> Inode:
        folder, name = self._place(path)
        if name not in folder.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return folder.files[name]

    def _name(self, path: str, inode: Inode) -> None:
        folder, name = self._place(path)
        folder.files[name] = inode

    def _unname(self, path: str) -> None:
        folder, name = self._place(path)
        del folder.files[name]


def _lose(inode: Inode, rng: random.Random) -> None:
    """Lose some or all of the file's content that was not synced."""
    if inode.synced != inode.content:
        whole, size = inode.content, len(inode.content)
        kept = rng.randrange(size + 1)
        inode.content = rng.choice(
            (inode.synced or b"", whole[:kept], whole[:kept] + bytes(size - kept), bytes(size))
        )
    inode.synced = inode.content
