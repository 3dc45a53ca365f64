"""Ends a worker process that hangs, so that its trial is continued by another.

Whoever works says so with ``beat``; silence for too long means a hang (a deadlock, a GPU that no
longer answers). The traceback then goes to standard error, where Ray keeps it in its logs. One
watchdog per process, by ``faulthandler``, which fires even while Python itself is stuck.
"""

import faulthandler
import sys
import time

_limit: float | None = None
_last = 0.0


def arm(seconds: float) -> None:
    """From now on end the process when ``beat`` has not been called for so long."""
    global _limit, _last
    _limit, _last = seconds, -1.0
    beat()


def beat() -> None:
    """Something has been done; cheap enough to be called for every batch."""
    global _last
    now = time.monotonic()
    if _limit is not None and now - _last >= min(1.0, _limit / 10):
        _last = now
        faulthandler.dump_traceback_later(_limit, exit=True, file=sys.__stderr__ or 2)


def disarm() -> None:
    """Nothing is expected any more."""
    global _limit
    _limit = None
    faulthandler.cancel_dump_traceback_later()
