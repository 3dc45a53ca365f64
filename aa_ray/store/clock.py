"""Time, waiting and background work of the store and the sweep.

They are functions of this module so that the simulator can replace the clock (``tests/simulator``).
No decision depends on the time of day, except the removal of leftovers that are more than a day
old, since the clocks of machines and file servers differ and jump.
"""

import threading
import time
from collections.abc import Callable


def monotonic() -> float:
    """Seconds of a clock that never jumps; comparable only within this process."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970 by this machine's clock, which may be wrong."""
    return time.time()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def repeat(seconds: float, work: Callable[[], None]) -> Callable[[], None]:
    """Do the work in the background every ``seconds``, until the returned function is called.

    That function waits for work in progress, but no longer than ``seconds``.
    """
    over = threading.Event()

    def loop() -> None:
        while not over.wait(seconds):
            work()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()

    def stop() -> None:
        over.set()
        thread.join(seconds)

    return stop
