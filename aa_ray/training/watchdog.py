"""Ends a worker process that hangs, so that its trial is continued by another.

Whoever works says so with ``beat``; silence for too long means a hang (a deadlock, a GPU that no
longer answers). The traceback then goes to standard error, where Ray keeps it in its logs. One
watchdog per process, by ``faulthandler``, which fires even while Python itself is stuck. Where the
whole process is stopped it does not; somebody else who is told of the beats can see that.
"""

import faulthandler
import sys
import time
from collections.abc import Callable

# Whoever watches is told this often, in seconds, or ten times within the limit.
TELL_SECONDS = 10.0

_limit: float | None = None
_last = 0.0
_told = 0.0
_tell: Callable[[bool], object] | None = None


def arm(seconds: float, tell: Callable[[bool], object] | None = None) -> None:
    """From now on end the process when ``beat`` has not been called for so long.

    Args:
        tell: is called with True now and then while there are beats, and with False when none
            are expected any more.
    """
    global _limit, _last, _told, _tell
    _limit, _last, _told, _tell = seconds, -1.0, -1.0, tell
    beat()


def beat() -> None:
    """Something has been done; cheap enough to be called for every batch."""
    global _last, _told
    now = time.monotonic()
    if _limit is None:
        return
    if _tell is not None and now - _told >= min(TELL_SECONDS, _limit / 10):
        _told = now
        _tell(True)
    if now - _last >= min(1.0, _limit / 10):
        _last = now
        faulthandler.dump_traceback_later(_limit, exit=True, file=sys.__stderr__ or 2)


def disarm() -> None:
    """Nothing is expected any more."""
    global _limit, _tell
    _limit = None
    if _tell is not None:
        _tell(False)
        _tell = None
    faulthandler.cancel_dump_traceback_later()
