"""Identifies processes, and finds out whether one is still running.

What depends on the system is in functions of this module, so that the simulator can simulate
processes (``tests/simulator``).
"""

import hashlib
import json
import os
import socket
import uuid
from dataclasses import dataclass, fields
from pathlib import Path


def host() -> str:
    return socket.gethostname()


def machine() -> str:
    """Identifies this boot of the machine and this namespace of process ids; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: a dead driver is recognised only by its silence
        return ""


def number() -> int:
    """This process's id."""
    return os.getpid()


def started(pid: int) -> str:
    """The process's start time in the kernel's clock, since process ids are reused.

    Empty if there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may contain anything
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start


@dataclass(frozen=True)
class Identity:
    """A process, such that others on its machine can tell whether it is still running.

    Attributes:
        owner: name of the driver, different in each run.
        machine: this boot of the machine and this namespace of process ids.
        started: the process's start time in the kernel's clock, since process ids are reused.
    """

    owner: str
    host: str
    machine: str
    pid: int
    started: str

    @classmethod
    def of_this_process(cls) -> "Identity":
        pid = number()
        owner = f"{host()}-{pid}-{uuid.uuid4().hex[:8]}"
        return cls(owner, host(), machine(), pid, started(pid))

    @classmethod
    def from_json(cls, content: bytes) -> "Identity | None":
        """The identity in a driver's file; None if it is missing or damaged."""
        try:
            values = json.loads(content)
            if values.pop("sha256", None) != digest(json.dumps(values)):
                return None
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def runs_here(self) -> bool | None:
        """Whether the process is running; None if it is on another machine."""
        if not self.machine or self.machine != machine():
            return None
        return started(self.pid) == self.started


def digest(text: str) -> str:
    """A checksum of the text, so that a reader can detect damage."""
    return hashlib.sha256(text.encode()).hexdigest()
