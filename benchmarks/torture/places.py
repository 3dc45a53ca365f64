"""Where a study runs while it is disturbed: with its own Ray, or on a cluster on loopback."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

TABLE2 = Path(__file__).parent.parent.parent / "studies" / "table2.py"

# Marks in their environment the processes that this one has started, however indirectly.
MARK = "AA_RAY_TORTURE"


def processes(mark: str) -> dict[int, str]:
    """Return id -> command of every process with the mark in its environment, children included."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, or is not ours
                if f"{MARK}={mark}".encode() in (path / "environ").read_bytes():
                    command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(path.name)] = command
    return found


def interruptible() -> None:
    """Let a new process react to SIGINT, even if this one runs in a shell's background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Place:
    """One machine, on which every start of the study has its own Ray.

    Attributes:
        kinds: of faults; those with a signal's name send it to a process.
        ending: the kinds after which the driver ends and the command is started again.
    """

    kinds: tuple[str, ...] = ("driver SIGKILL", "driver SIGTERM", "driver SIGINT",
                              "worker SIGKILL", "raylet SIGKILL", "gcs SIGKILL")  # fmt: skip
    ending: tuple[str, ...] = ("driver", "raylet", "gcs")
    programs: ClassVar = {"raylet": "/raylet/raylet ", "gcs": "/gcs_server ",
                          "worker": "ResourceTrainable"}  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = ""

    def results(self, name: str) -> str:
        """Return where this process finds the rows of a study."""
        return str(self.folder / name)

    def seen(self, name: str) -> str:
        """Return how the study names something in the place's folder."""
        return str(self.folder / name)

    def start(self, arguments: list[str], name: str) -> "subprocess.Popen[bytes]":
        """Start the study's command as a user would."""
        self.mark = uuid.uuid4().hex
        command = [sys.executable, str(TABLE2), *arguments, *self.options(name)]
        with self.log(name).open("w") as log:
            return subprocess.Popen(
                self.command(command), cwd=self.folder, env=os.environ | self.environment(),
                stdout=log, stderr=log, preexec_fn=interruptible,
            )  # fmt: skip

    def log(self, name: str) -> Path:
        """Return the file with what the last start of the study printed."""
        return self.folder / f"{name}.log"

    def command(self, study: list[str]) -> list[str]:
        return study

    def options(self, name: str) -> list[str]:
        """Return the options of the study's command that belong to this place."""
        return ["--results", self.results(name)]

    def existed(self, name: str) -> bool:
        """Return whether the study with this name has been started before."""
        return (self.folder / name).exists()

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder / name)

    def environment(self) -> dict[str, str]:
        """Return the variables that the study gets in addition to this process's."""
        return {MARK: self.mark}

    def strike(self, kind: str, driver: int, draw: random.Random) -> bool:
        """Cause a fault; return whether there was something to hit."""
        target, how = kind.rsplit(maxsplit=1)
        hit = [self.driver(driver)] if target == "driver" else self.victims(target, draw)
        for pid in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[how])
        return bool(hit)

    def driver(self, pid: int) -> int:
        """Return the driver's process, given that of the command."""
        return pid

    def victims(self, target: str, draw: random.Random) -> list[int]:
        """Return all of Ray's processes of this kind; of workers only one, drawn at random."""
        running = self.running().items()
        found = sorted(pid for pid, command in running if self.programs[target] in command)
        return [draw.choice(found)] if found and target == "worker" else found

    def running(self) -> dict[int, str]:
        """Return the processes of the study and of its Ray."""
        return processes(self.mark)

    def refused(self, name: str) -> bool:
        """Return whether the study ended with an error that a fault explains.

        The command is then started again, as its user would do.
        """
        return False

    def tend(self) -> None:
        """Repair what an administrator would; called every second while the study runs."""

    def settle(self) -> None:
        """Wait until everything is repaired and no worker of an ended driver is left."""


class Nodes(Place):
    """A Ray cluster of several nodes on this machine's loopback address.

    The head runs no trials. The other nodes have one core each.
    """

    kinds: tuple[str, ...] = ("node lost", "worker SIGKILL", "driver SIGKILL")
    ending: tuple[str, ...] = ("driver",)

    def __init__(self, folder: Path, count: int) -> None:
        from ray.cluster_utils import Cluster

        super().__init__(folder)
        self.of_cluster = os.environ[MARK]
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(count)]

    def options(self, name: str) -> list[str]:
        return [*super().options(name), "--address", str(self.cluster.address)]

    def running(self) -> dict[int, str]:
        return super().running() | processes(self.of_cluster)

    def strike(self, kind: str, driver: int, draw: random.Random) -> bool:
        if kind != "node lost":
            return super().strike(kind, driver, draw)
        lost = draw.choice(self.nodes)
        self.cluster.remove_node(lost, allow_graceful=False)
        self.nodes.remove(lost)
        self.nodes.append(self.cluster.add_node(num_cpus=1))
        return True


@contextlib.contextmanager
def nodes(folder: Path, count: int) -> Iterator[Nodes]:
    """Run a cluster with this many worker nodes inside the context."""
    os.environ |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
        MARK: uuid.uuid4().hex,
    }
    place = Nodes(folder, count)
    try:
        yield place
    finally:
        place.cluster.shutdown()
