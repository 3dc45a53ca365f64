"""Time, waiting and background work of the store and the sweep.

They are here, as functions of a module, so that a simulator can put a clock of its own in their
place (``tests/simulator``). No decision rests on what time it is, but for leftovers that are more
than a day old: clocks of machines and file servers differ, and jump.
"""

import threading
import time
from collections.abc import Callable


def monotonic() -> float:
    """Seconds of a clock that only this process sees and that never jumps."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970 by this machine's clock, which may be wrong."""
    return time.time()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def repeat(seconds: float, work: Callable[[], None]) -> Callable[[], None]:
    """Do the work in the background every so many seconds, until the returned function is called.

    That function waits for work that is being done, but no longer than ``seconds``.
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
