"""aa_ray.sweep.head: a driver notices that Ray's head has ended and reports it."""

import socket

import pytest

from aa_ray.sweep import head
from aa_ray.sweep.head import HeadWatch


class World:
    """A head that may be unreachable, a clock, and a count of how often the driver was ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, patience: float = 10.0) -> None:
        self.now, self.alive, self.ended = 0.0, True, 0
        monkeypatch.setattr(head.clock, "monotonic", lambda: self.now)
        self.watch = HeadWatch("127.0.0.1:6379", patience, self._connect, self._end)

    def _connect(self, place: tuple[str, int]) -> None:
        assert place == ("127.0.0.1", 6379)
        if not self.alive:
            raise ConnectionRefusedError(111, "Connection refused")

    def _end(self) -> None:
        self.ended += 1

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end and not self.ended:
            self.now += head.LOOK_SECONDS
            self.watch.look()


def test_a_head_that_ends_ends_the_driver_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(monkeypatch)
    world.pass_(100)
    assert world.ended == 0
    world.alive = False
    world.pass_(9)
    assert world.ended == 0
    world.pass_(6)
    assert world.ended == 1 and world.now < 120
    said = capsys.readouterr().err.strip()
    assert said == (
        "Ray's head at 127.0.0.1:6379 has ended (Connection refused); finished trials are kept, "
        "the same command continues"
    )


def test_a_short_silence_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    for _ in range(5):
        world.alive = False
        world.pass_(9)
        world.alive = True
        world.pass_(3)
    assert world.ended == 0


def test_a_driver_that_was_stopped_itself_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.pass_(9)
    world.now += 3600
    world.alive = False
    world.watch.look()
    assert world.ended == 0
    world.pass_(15)
    assert world.ended == 1


def test_the_real_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    ended: list[bool] = []
    watch = HeadWatch(f"127.0.0.1:{port}", 0.0, end=lambda: ended.append(True))
    watch.look()
    assert not ended
    server.close()
    watch._looked = watch._heard = head.clock.monotonic() - 1e-3
    watch._patience = 1e-4
    watch._looked = head.clock.monotonic()
    watch.look()
    assert ended
