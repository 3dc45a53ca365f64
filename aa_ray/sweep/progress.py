"""The progress of a sweep: a live view in a terminal, a line from time to time in a log file."""

import functools
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.live import Live

from aa_ray.errors import StorageError, one_line, printable
from aa_ray.store import clock
from aa_ray.store.running import RunningTrial, running_trials
from aa_ray.store.storage import Folder
from aa_ray.study.forecast import duration
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import live
from aa_ray.sweep.live import Snapshot

# Seconds between two lines, if lines cannot be rewritten.
LOG_INTERVAL = 15.0
WIDTH = 79

# Seconds between two reads of the checkpoints of running trials, and how many are read.
LOOK_SECONDS = 2.0
MOST_CHECKPOINTS = 64

# The progress line may take at most 1/50 of the time.
COST = 50


def _clock(seconds: float) -> str:
    """Elapsed hours, minutes and seconds: 0:05, 12:00, 3:04:05."""
    return str(timedelta(seconds=int(seconds))).removeprefix("0:").removeprefix("0")


def describe(queue: TrialQueue, slots: int) -> str:
    """The progress in one line, most important first, as a narrow terminal cuts off the rest."""
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
        parts.append(f"{counts['elsewhere']} in another driver")
    if counts["lost"]:
        parts.append(f"{counts['lost']} cannot run")
    return ", ".join(parts)


class Progress:
    """Shows the progress of a sweep: a live view in a terminal, lines in a log file.

    Args:
        queue: the sweep's queue.
        slots: number of trials that run at once, to estimate the time left.
        folder: the results folder, whose checkpoints show the state of running trials; None: only
            counts are shown.
        stream: where to print; by default standard error, so that standard output only has the
            table.
    """

    def __init__(
        self,
        queue: TrialQueue,
        slots: int,
        folder: Folder | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self._queue = queue
        self._slots = slots
        self._folder = folder
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=False)
        self._live: Live | None = None
        self._stop_looking: Callable[[], None] = lambda: None
        self._started = time.monotonic()
        self._printed = -LOG_INTERVAL
        self._pause = 0.0
        self._text = ""
        self._titles: dict[str, str] = {}  # id of a running trial -> title
        self._running: list[RunningTrial] = []

    def update(self) -> None:
        """Print if something has changed and enough time has passed."""
        now = time.monotonic()
        terminal = live.is_live(self._console)
        if now - self._printed < max(self._pause, 1.0 if terminal else LOG_INTERVAL):
            return
        worked = time.process_time()
        text = describe(self._queue, self._slots)
        self._printed = now
        if terminal:
            self._show(text)
        elif text != self._text:
            self._write(f"[{_clock(now - self._started)}] {text}")
        self._text = text
        # In a large study this takes a while. Only the time of this process counts.
        self._pause = COST * (time.process_time() - worked)

    def say(self, line: str) -> None:
        """Print a separate line between those of ``update``."""
        line = "\n".join(map(printable, line.split("\n")))
        self._console.print(line, markup=False, overflow="ignore", no_wrap=True, crop=False)

    def close(self) -> None:
        """End the live view and print the final state on a separate line."""
        self._stop_looking()
        if self._live is not None:
            self._live.stop()
            self._live = None
        taken = _clock(time.monotonic() - self._started)
        self._write(f"[{taken}] {describe(self._queue, self._slots)}")

    def _write(self, line: str) -> None:
        self.say(textwrap.fill(line, WIDTH, subsequent_indent="    "))

    def _show(self, text: str) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
            )
            self._live.start()
            if self._folder is not None:
                # In the background: an object store takes seconds, and Tune's loop must not wait.
                look = functools.partial(self._look, self._folder)
                self._stop_looking = clock.repeat(LOOK_SECONDS, look)
        taken = _clock(time.monotonic() - self._started)
        snapshot = self._snapshot(f"[{taken}] {text}")
        width = min(self._console.width, live.WIDEST)
        self._live.update(live.render(snapshot, width), refresh=True)

    def _snapshot(self, headline: str) -> Snapshot:
        counts = self._queue.counts()
        self._titles = {trial.id: str(cell) for cell, trial in self._queue.running()}
        return Snapshot(
            headline,
            done=counts["finished"] + counts["failed"],
            total=counts.total(),
            running=[running for running in self._running if running.trial.id in self._titles],
            titles=self._titles,
            failed=[f"{cell}: {one_line(error)}" for cell, error in self._queue.failures()],
        )

    def _look(self, folder: Folder) -> None:
        """Read the state of running trials from their checkpoints."""
        try:
            self._running = running_trials(folder, self._titles, MOST_CHECKPOINTS)
        except StorageError:  # the sweep itself will report it
            self._running = []
