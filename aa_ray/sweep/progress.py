"""The line that shows how far a sweep is: rewritten in a terminal, appended in a log file."""

import sys
import textwrap
import time
from datetime import timedelta
from typing import TextIO

from aa_ray.study.forecast import duration
from aa_ray.study.queue import TrialQueue

# Seconds between two lines where they cannot be rewritten.
LOG_INTERVAL = 15.0
WIDTH = 79

# Spend at most 1/50 of the time on computing the progress line.
COST = 50


def _clock(seconds: float) -> str:
    """Elapsed hours, minutes and seconds: 0:05, 12:00, 3:04:05."""
    return str(timedelta(seconds=int(seconds))).removeprefix("0:").removeprefix("0")


def describe(queue: TrialQueue, slots: int) -> str:
    """One line that begins with what matters most: a narrow terminal cuts off the rest."""
    counts = queue.counts()
    waiting = counts["runnable"] + counts["blocked"]
    parts = [f"{counts['finished']}/{counts.total()} trials done"]
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    left = queue.seconds_left(slots)
    if left is not None and waiting + counts["running"]:
        parts.append(f"about {duration(left)} left")
    parts += [f"{counts['running']} running", f"{waiting} waiting"]
    if counts["elsewhere"]:
        parts.append(f"{counts['elsewhere']} at another driver")
    if counts["lost"]:
        parts.append(f"{counts['lost']} cannot run")
    return ", ".join(parts)


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="    ")


class Progress:
    """Prints ``describe`` while a sweep goes on.

    Args:
        queue: the sweep's queue.
        slots: number of trials that run at once, to estimate the time left.
        stream: where to print; by default standard error, so that standard output holds the table
            alone.
    """

    def __init__(self, queue: TrialQueue, slots: int, stream: TextIO | None = None) -> None:
        self._queue = queue
        self._slots = slots
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._printed = -LOG_INTERVAL
        self._pause = 0.0
        self._text = ""

    def update(self) -> None:
        """Print, if something has changed and it is time."""
        now = time.monotonic()
        terminal = self._stream.isatty()
        if now - self._printed < max(self._pause, 1.0 if terminal else LOG_INTERVAL):
            return
        worked = time.process_time()
        text = describe(self._queue, self._slots)
        # In a large study this takes a while. Only this process's own time counts.
        self._pause = COST * (time.process_time() - worked)
        if text == self._text and not terminal:
            return
        self._text, self._printed = text, now
        line = f"[{_clock(now - self._started)}] {text}"
        if terminal:
            self._stream.write("\r" + line[:WIDTH].ljust(WIDTH))
        else:
            self._stream.write(_wrapped(line) + "\n")
        self._stream.flush()

    def say(self, line: str) -> None:
        """Print a line of its own between those of ``update``."""
        if self._stream.isatty():
            self._stream.write("\r" + " " * WIDTH + "\r")
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Print the final state on a line of its own."""
        taken = _clock(time.monotonic() - self._started)
        line = _wrapped(f"[{taken}] {describe(self._queue, self._slots)}")
        erased = "\r" + " " * WIDTH + "\r" if self._stream.isatty() else ""
        self._stream.write(erased + line + "\n")
        self._stream.flush()
