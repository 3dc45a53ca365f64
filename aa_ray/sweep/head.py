"""Checks whether Ray's head still answers.

If it does not, Ray's own library waits for a minute and then ends the driver from C++, with a log
line instead of an explanation. So the driver checks by itself.
"""

import os
import socket
import sys
from collections.abc import Callable

from aa_ray.errors import FAILED_WORK
from aa_ray.store import clock

LOOK_SECONDS = 3.0
# Seconds of silence to accept from a head on this machine, and from a cluster's, whose network may
# pause. Ray gives up after 60 seconds.
PATIENCE, CLUSTER_PATIENCE = 12.0, 45.0


def end() -> None:
    """End the process immediately, since Ray's threads and exit handlers would delay its end."""
    sys.stderr.flush()
    os._exit(FAILED_WORK)


class HeadWatch:
    """Ends the driver if Ray's head has been silent for too long.

    Args:
        address: host and port of the head's store (GCS).
        patience: seconds of silence.
        connect: connects to the head; raises OSError if nobody answers.
        end: ends the process.
    """

    def __init__(
        self,
        address: str,
        patience: float,
        connect: Callable[[tuple[str, int]], None] | None = None,
        end: Callable[[], None] = end,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._place = host.strip("[]"), int(port)
        self._patience = patience
        self._connect = connect or _connect
        self._end = end
        self._heard = clock.monotonic()
        self._looked = self._heard

    def look(self) -> None:
        """Try once to reach the head."""
        now = clock.monotonic()
        if now - self._looked > self._patience:  # this process itself was suspended meanwhile
            self._heard = now
        self._looked = now
        try:
            self._connect(self._place)
            self._heard = clock.monotonic()
        except OSError as error:
            if now - self._heard > self._patience:
                self._say(error)
                self._end()

    def _say(self, error: OSError) -> None:
        host, port = self._place
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live view has hidden the cursor
        print(
            f"{shown}\nRay's head at {host}:{port} has ended ({error.strerror or error}); finished "
            "trials are kept, the same command continues",
            file=sys.stderr,
        )


def _connect(place: tuple[str, int]) -> None:
    socket.create_connection(place, timeout=LOOK_SECONDS).close()


def watch(address: str, local: bool) -> Callable[[], None]:
    """Check the head periodically in the background, until the returned function is called.

    Args:
        address: host and port of the head's store (GCS).
        local: whether it is on this machine, for this driver alone.
    """
    patience = PATIENCE if local else CLUSTER_PATIENCE
    return clock.repeat(LOOK_SECONDS, HeadWatch(address, patience).look)
