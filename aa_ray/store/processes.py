"""What tells processes apart, and whether one still runs.

What the system says is in functions of a module, so that a simulator can have processes of its own
(``tests/simulator``).
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
    """This boot of the machine and this namespace of process numbers; empty where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: a dead driver is known by its silence only
        return ""


def number() -> int:
    """This process's number."""
    return os.getpid()


def started(pid: int) -> str:
    """The process's start time in the kernel's clock, since numbers are used again.

    Empty where there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else start


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
        pid = number()
        owner = f"{host()}-{pid}-{uuid.uuid4().hex[:8]}"
        return cls(owner, host(), machine(), pid, started(pid))

    @classmethod
    def from_json(cls, content: bytes) -> "Identity | None":
        """The identity in a driver's file; None if there is none, or it is damaged."""
        try:
            values = json.loads(content)
            if values.pop("sha256", None) != digest(json.dumps(values)):
                return None
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def runs_here(self) -> bool | None:
        """Whether the process runs; None if it is one of another machine."""
        if not self.machine or self.machine != machine():
            return None
        return started(self.pid) == self.started


def digest(text: str) -> str:
    """By which a reader knows that no bit has changed."""
    return hashlib.sha256(text.encode()).hexdigest()
