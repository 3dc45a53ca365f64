"""An object store that fails, answers late, loses answers, repeats requests and lists late."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aa_ray.store.bucket import Bucket
from tests.simulator.world import World

T = TypeVar("T")


@dataclass
class Change:
    """A change: whether the object now exists, and when lists show it."""

    there: bool
    listed: float


class FaultyBucket(Bucket):
    """The requests of ``Bucket`` on objects in memory.

    Args:
        conditional: whether the store can write only if a key is free.
        lag: lists may miss changes of the last ``lag`` seconds.

    Attributes:
        error_rate: share of requests that fail.
        away_until: time before which nothing is answered.
    """

    def __init__(self, world: World, conditional: bool, lag: float) -> None:
        self._world = world
        self._conditional = conditional
        self._lag = lag
        self.error_rate = 0.0
        self.away_until = 0.0
        self.objects: dict[str, tuple[bytes, float]] = {}
        self._changes: dict[str, list[Change]] = {}

    def get(self, key: str) -> bytes:
        return self._request(f"get {key}", lambda: self._object(key)[0])

    def put(self, key: str, content: bytes) -> None:
        return self._request(f"put {key}", lambda: self._set(key, bytes(content)), repeats=True)

    def put_if_absent(self, key: str, content: bytes) -> bool | None:
        def put() -> bool:
            if key in self.objects:
                return False
            self._set(key, bytes(content))
            return True

        if not self._conditional:
            return None
        return self._request(f"put if absent {key}", put, repeats=True)

    def delete(self, key: str) -> None:
        def delete() -> None:
            self._object(key)
            del self.objects[key]
            self._changed(key, False)

        self._request(f"delete {key}", delete)

    def copy(self, key: str, to: str) -> None:
        self._request(f"copy {key} {to}", lambda: self._set(to, self._object(key)[0]))

    def modified(self, key: str) -> float | None:
        return self._request(
            f"stat {key}", lambda: self.objects[key][1] if key in self.objects else None
        )

    def names(self, folder: str) -> list[str]:
        return self._request(f"list {folder}", lambda: self._listed(f"{folder}/"))

    def all_files(self) -> dict[str, bytes]:
        """Return key -> content, without a request."""
        return {key: content for key, (content, _) in self.objects.items()}

    def replace(self, key: str, content: bytes) -> None:
        """Damage the object by replacing its content."""
        self.objects[key] = (content, self.objects[key][1])

    def _request(self, what: str, answer: Callable[[], T], repeats: bool = False) -> T:
        """Return the answer, unless a fault strikes before it, after it, or instead of it."""
        world = self._world
        world.operation(what)
        if world.now < self.away_until:
            world.wait(1.0)
            raise OSError("AWS Error NETWORK_CONNECTION: curlCode: 7, Couldn't connect to server")
        if not world.faults or world.random.random() >= self.error_rate:
            result = answer()
            world.after(what)
            return result
        kind = world.random.choice(("503", "lost answer", "late", "repeated"))
        world.counts[f"store: {kind}"] += 1
        world.note(f"{world.current.name}: {kind}: {what}")
        if kind == "503":
            raise OSError("AWS Error UNKNOWN (HTTP status 503): Please reduce your request rate")
        if kind == "late" and repeats:
            self._later(answer)
            raise OSError("AWS Error REQUEST_TIMEOUT: curlCode: 28, Timeout was reached")
        result = answer()
        if kind == "repeated":
            if repeats:
                self._later(answer)
            return result
        raise OSError("AWS Error REQUEST_TIMEOUT: curlCode: 28, Timeout was reached")

    def _later(self, request: Callable[[], object]) -> None:
        """Send a request that arrives later, although nobody waits for it."""
        delay = self._world.random.choice((1.0, 20.0, 100.0))

        def arrive() -> None:
            self._world.wait(delay)
            request()

        self._world.spawn("a late request", "network", arrive, mortal=False)

    def _object(self, key: str) -> tuple[bytes, float]:
        if key not in self.objects:
            raise FileNotFoundError(f"AWS Error NO_SUCH_KEY: {key}")
        return self.objects[key]

    def _set(self, key: str, content: bytes) -> None:
        new = key not in self.objects
        self.objects[key] = (content, self._world.now + self._world.skew)
        if new:
            self._changed(key, True)

    def _changed(self, key: str, there: bool) -> None:
        lag = self._world.random.uniform(0, self._lag) if self._world.faults else 0.0
        self._changes.setdefault(key, []).append(Change(there, self._world.now + lag))

    def _listed(self, prefix: str) -> list[str]:
        names = []
        for key, changes in self._changes.items():
            seen = [change.there for change in changes if change.listed <= self._world.now]
            if key.startswith(prefix) and "/" not in key[len(prefix) :] and seen and seen[-1]:
                names.append(key[len(prefix) :])
        return names
