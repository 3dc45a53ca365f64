"""Results in an object store that is killed, or slow, or refuses, or loses its answers."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from benchmarks.torture.places import Place
from benchmarks.torture.proxy import Proxy
from tests.object_stores import BUCKET, KEYS, Server, missing, serve

# Below the two minutes for which a command waits for its store (store/objects.py).
LONGEST_FAULT_SECONDS = 60.0


class ObjectStore(Place):
    """One machine with its own Ray; the study reaches the store through a proxy."""

    kinds: tuple[str, ...] = ("store slow", "store refusing", "store deaf", "store losing",
                              "worker SIGKILL", "driver SIGKILL", "driver SIGTERM")  # fmt: skip
    ending: tuple[str, ...] = ("driver",)

    def __init__(self, folder: Path, server: Server, keeps: bool) -> None:
        super().__init__(folder)
        self._server = server
        self._proxy = Proxy(server.port)
        self._well_at = 0.0
        if keeps:  # its objects when it is killed
            self.kinds = ("store killed", *self.kinds)

    def results(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def environment(self) -> dict[str, str]:
        return super().environment() | {"AWS_ENDPOINT_URL": self._proxy.url}

    def existed(self, name: str) -> bool:
        return bool(list(self._objects(name)))

    def remove(self, name: str) -> None:
        for thing in self._objects(name):
            thing.delete()

    def _objects(self, name: str):  # type: ignore[no-untyped-def]
        store = boto3.resource("s3", endpoint_url=self._server.url)
        return store.Bucket(BUCKET).objects.filter(Prefix=f"{name}/")

    def strike(self, kind: str, driver: int, draw: random.Random) -> bool:
        target, how = kind.split()
        if target != "store":
            return super().strike(kind, driver, draw)
        if self._well_at:
            return False  # one fault of the store at a time
        self._well_at = time.monotonic() + draw.uniform(1, LONGEST_FAULT_SECONDS)
        if how == "killed":
            self._server.kill()
        else:
            self._proxy.mode = how
        return True

    def refused(self, name: str) -> bool:
        """Return whether the store did not answer when the driver first asked.

        A driver does not wait then, since the store's name may be wrong.
        """
        return f"{self.results(name)}: cannot be used" in self.log(name).read_text()

    def tend(self) -> None:
        if self._well_at and time.monotonic() > self._well_at:
            self._well_at = 0.0
            self._proxy.mode = "well"
            if not self._server.running():
                self._server.start()

    def settle(self) -> None:
        self._well_at = min(self._well_at, 1e-9)
        self.tend()


@contextmanager
def object_store(name: str, folder: Path) -> Iterator[ObjectStore]:
    """Run a store inside the context.

    Args:
        name: "moto" or "rclone".

    Raises:
        SystemExit: this server is not installed.
    """
    if why := missing(name):
        raise SystemExit(f"resilience: {why}")
    objects = folder / "objects"
    objects.mkdir()
    with serve(name, objects) as server:
        os.environ |= KEYS | {"AWS_ENDPOINT_URL": server.url}
        yield ObjectStore(folder, server, keeps=name == "rclone")
