"""A Ray cluster of three hosts made of namespaces, which lose their power or their network.

The driver runs on the head, the trials on two workers; the results are on a shared folder. What an
administrator would do is done within seconds: a host without power comes back empty, and Ray is
started again on a host where it has ended.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmarks.torture.places import MARK, Place, processes
from tests import namespaces
from tests.namespaces import ADDRESSES, HEAD, WORKERS, Hosts

PORT = 6379
LONGEST_LINK_DOWN_SECONDS = 100.0


class ThreeHosts(Place):
    """The cluster, which has been started."""

    kinds: tuple[str, ...] = ("host lost", "link down", "raylet SIGKILL", "worker SIGKILL",
                              "driver SIGKILL", "driver SIGTERM", "driver SIGINT")  # fmt: skip
    ending: tuple[str, ...] = ("driver",)

    def __init__(self, hosts: Hosts) -> None:
        super().__init__(hosts.shared)
        self.hosts = hosts
        self._ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
                     MARK: uuid.uuid4().hex}  # fmt: skip
        self._joining: dict[str, subprocess.Popen[bytes]] = {}
        self._link_up_at: dict[str, float] = {}
        head = ["--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"]
        if self._start_ray(HEAD, *head).wait():
            raise SystemExit(f"Ray did not start: {self.log('ray-head').read_text()}")
        self.settle()

    def command(self, study: list[str]) -> list[str]:
        return self._on(HEAD, self._ray | super().environment(), *study)

    def options(self, name: str) -> list[str]:
        return ["--results", f"/shared/{name}", "--address", f"{ADDRESSES[HEAD]}:{PORT}"]

    def seen(self, name: str) -> str:
        return f"/shared/{name}"

    def driver(self, pid: int) -> int:
        """Return the driver among the processes below nsenter."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else pid

    def running(self) -> dict[int, str]:
        return processes(self._ray[MARK])

    def strike(self, kind: str, driver: int, draw: random.Random) -> bool:
        if kind == "host lost":
            up = [name for name in WORKERS if self._has_ray(name)]
            if up:
                self.hosts[draw.choice(up)].kill()
            return bool(up)
        if kind == "link down":
            up = [name for name in WORKERS if self._has_ray(name) and name not in self._link_up_at]
            if up:
                name = draw.choice(up)
                self.hosts.set_link(name, up=False)
                down = draw.uniform(1, LONGEST_LINK_DOWN_SECONDS)
                self._link_up_at[name] = time.monotonic() + down
            return bool(up)
        return super().strike(kind, driver, draw)

    def victims(self, target: str, draw: random.Random) -> list[int]:
        found = super().victims(target, draw)
        if target == "raylet":  # not the head's
            on_head = self._inside(HEAD)
            found = [pid for pid in found if pid not in on_head]
            return [draw.choice(found)] if found else []
        return found

    def tend(self) -> None:
        for name in WORKERS:
            if self.hosts[name].ended():
                self._link_up_at.pop(name, None)
                self._joining.pop(name, None)
                self.hosts.start(name)
            if time.monotonic() > self._link_up_at.get(name, float("inf")):
                del self._link_up_at[name]
                self.hosts.set_link(name, up=True)
            joining = self._joining.get(name)
            idle = joining is None or joining.poll() is not None
            if idle and name not in self._link_up_at and not self._has_ray(name):
                address = f"--address={ADDRESSES[HEAD]}:{PORT}"
                self._joining[name] = self._start_ray(name, address, "--num-cpus=1")

    def settle(self) -> None:
        while self._link_up_at or not all(self._has_ray(name) for name in WORKERS):
            self.tend()
            time.sleep(0.5)

    def _has_ray(self, name: str) -> bool:
        if self.hosts[name].ended():
            return False
        return any(self.programs["raylet"] in command for command in self._inside(name).values())

    def _inside(self, name: str) -> dict[int, str]:
        """Return the processes of the study and of its Ray on this host."""
        host = _namespace(self.hosts[name].pid)
        return {pid: cmd for pid, cmd in self.running().items() if _namespace(pid) == host}

    def _start_ray(self, name: str, *options: str) -> "subprocess.Popen[bytes]":
        ray = str(Path(sys.executable).parent / "ray")
        start = [ray, "start", f"--node-ip-address={ADDRESSES[name]}", *options]
        script = f"{ray} stop --force > /dev/null 2>&1; exec {' '.join(start)}"
        with self.log(f"ray-{name}").open("a") as log:
            return subprocess.Popen(
                self._on(name, self._ray, "bash", "-c", script),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def _on(self, name: str, variables: dict[str, str], *command: str) -> list[str]:
        given = [f"{key}={value}" for key, value in variables.items()]
        return self.hosts[name].command("env", *given, *command)


def _namespace(pid: int) -> str:
    """Return what tells the processes of different hosts apart."""
    with contextlib.suppress(OSError):  # it has just ended
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


@contextlib.contextmanager
def three_hosts() -> Iterator[ThreeHosts]:
    """Run the hosts and their cluster inside the context.

    Raises:
        SystemExit: hosts cannot be made here.
    """
    if why := namespaces.missing():
        raise SystemExit(f"resilience: hosts cannot be made: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the hosts too
    with Hosts() as hosts:
        yield ThreeHosts(hosts)
