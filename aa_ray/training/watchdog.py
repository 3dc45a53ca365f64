"""Ends a worker process that hangs, so that another worker continues its trial.

Working code calls ``beat``. Silence for too long means a hang, such as a deadlock or a GPU that no
longer answers. The traceback then goes to standard error, which Ray keeps in its logs. There is one
watchdog per process. It uses ``faulthandler``, which fires even while Python itself is stuck. It
cannot fire while the whole process is suspended, but another process that receives the beats can
notice that.
"""

import faulthandler
import sys
import time
from collections.abc import Callable

# Interval in seconds at which the observer is notified; at least ten times within the limit.
TELL_SECONDS = 10.0

_limit: float | None = None
_last = 0.0
_told = 0.0
_tell: Callable[[bool], object] | None = None


def arm(seconds: float, tell: Callable[[bool], object] | None = None) -> None:
    """Start to watch: end the process if ``beat`` has not been called for ``seconds``.

    Args:
        tell: is called with True from time to time while there are beats, and with False when no
            more are expected.
    """
    global _limit, _last, _told, _tell
    _limit, _last, _told, _tell = seconds, -1.0, -1.0, tell
    beat()


def beat() -> None:
    """Signal progress; cheap enough to be called for each batch."""
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
    """Stop watching."""
    global _limit, _tell
    _limit = None
    if _tell is not None:
        _tell(False)
        _tell = None
    faulthandler.cancel_dump_traceback_later()
