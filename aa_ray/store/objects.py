"""Files of a results folder in an object store; failed requests are retried for a while."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pyarrow as pa

from aa_ray.store import clock
from aa_ray.store.bucket import Bucket

# How long to retry an object store that has answered before.
PATIENCE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 8.0

# Errors that a retry would repeat.
FINAL = ("ACCESS_DENIED", "AccessDenied", "NO_SUCH_BUCKET", "NoSuchBucket", "INVALID_ACCESS_KEY",
         "InvalidAccessKey", "SIGNATURE", "HTTP Status 400", "HTTP Status 403",
         "Unable to locate credentials")  # fmt: skip

T = TypeVar("T")


class ObjectFiles:
    """An object store. Paths are keys, which begin with the bucket.

    Args:
        bucket: the requests.
        probes: the folder for trying out what the store supports.
        answered: whether the store has answered before, to this process or another. Then a failure
            counts as an outage and is retried. Otherwise the first failure is an error, since a
            name may be wrong.
    """

    def __init__(self, bucket: Bucket, probes: str, answered: bool = False) -> None:
        self._bucket = bucket
        self._probes = probes
        self._answered = answered
        self._exclusive: bool | None = None

    def read(self, path: str) -> bytes:
        return self._ask(lambda: self._bucket.get(path))

    def read_part(self, path: str, offset: int, size: int) -> bytes:
        return self._ask(lambda: self._bucket.get_part(path, offset, size))

    def modified(self, path: str) -> float | None:
        return self._ask(lambda: self._bucket.modified(path))

    def names(self, folder: str) -> list[str]:
        return self._ask(lambda: self._bucket.names(folder))

    def write(self, path: str, content: bytes | pa.Buffer) -> None:
        self._ask(lambda: self._bucket.put(path, content))

    def create(self, path: str, content: bytes | pa.Buffer) -> bool:
        """Write the object unless it exists; returns whether this call wrote it.

        If ``exclusive``, exactly one of several concurrent calls succeeds. Otherwise this checks
        first and then writes. If an answer was lost, this may return False although it wrote.
        """
        if self.exclusive():
            return bool(self._ask(lambda: self._bucket.put_if_absent(path, content)))
        if self.modified(path) is not None:
            return False
        self.write(path, content)
        return True

    def exclusive(self) -> bool:
        """Whether the store refuses to create an existing object; tried, as some ignore this."""
        if self._exclusive is None:
            probe = f"{self._probes}/.exclusive-{uuid.uuid4().hex}"
            created = self._ask(lambda: self._bucket.put_if_absent(probe, b""))
            self._exclusive = created is not None and (
                self._ask(lambda: self._bucket.put_if_absent(probe, b"")) is False
            )
            if created is not None:
                self.delete(probe)
        return self._exclusive

    def delete(self, path: str) -> None:
        """Delete the object; not an error if it does not exist."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self._bucket.delete(path))

    def move(self, path: str, to: str) -> None:
        self._ask(lambda: self._bucket.copy(path, to))
        self.delete(path)

    def free_bytes(self, folder: str) -> int | None:
        """None: there is no limit."""
        return None

    def remove_stale_parts(self, folder: str) -> None:
        """Do nothing, since object stores have no half-written files."""

    def _ask(self, request: Callable[[], T]) -> T:
        """The answer to the request, retried at growing intervals if it fails.

        Raises:
            OSError: it fails for ``PATIENCE_SECONDS``, or a retry cannot help.
        """
        began, pause = clock.monotonic(), 0.5
        while True:
            try:
                answer = request()
            except FileNotFoundError:
                self._answered = True
                raise
            except OSError as error:
                final = isinstance(error, PermissionError) or any(f in str(error) for f in FINAL)
                waited = clock.monotonic() - began
                if final or not self._answered or waited > PATIENCE_SECONDS:
                    raise
                clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._answered = True
                return answer
