"""Virtual time, and processes that stop, stall and die at any operation that a seed picks.

A process is a set of greenlets; one runs at a time until it waits. Anything that touches the world
outside the process (files, time, Ray) is an operation. At an operation the process may stall, or
be killed before or after its effect, and other processes get their turn.
"""

import contextlib
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from greenlet import getcurrent, greenlet

HOUR = 3600.0


class Killed(BaseException):
    """Ends a process like kill -9: whatever it still tries to do has no effect."""


class Violation(Exception):
    """An invariant does not hold; the message says which."""


@dataclass(eq=False)
class Process:
    """A process of a simulated machine."""

    name: str
    host: str
    pid: int
    alive: bool = True
    mortal: bool = True  # the world's own processes are never killed or stalled
    stalled_until: float = 0.0
    longest_stall: float = 0.0
    stalls: tuple[float, ...] = (5.0, 70.0, 200.0)
    greenlets: list[greenlet] = field(default_factory=list)
    on_death: list[Callable[[], None]] = field(default_factory=list)


class World:
    """A clock, processes, and the random numbers that decide everything.

    Args:
        seed: the seed of those numbers.

    Attributes:
        now: seconds since the start, which the processes' monotonic clocks show too.
        skew: offset of wall clocks and file times from ``now``, in seconds.
        faults: whether faults still occur.
        counts: how often each kind of fault has occurred.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.skew = 1e9
        self.faults = True
        self.kill_rate = 0.0
        self.stall_rate = 0.0
        self.latency = (0.001, 0.005)
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.processes: list[Process] = []
        self.operations = 0
        self.may_kill: Callable[[Process], bool] = lambda process: True
        self.errors: list[tuple[Process, BaseException]] = []
        self._pids = itertools.count(100)
        self._numbers = itertools.count()
        self._queue: list[tuple[float, int, greenlet, Process]] = []
        self._doomed: list[Process] = []
        self._current: Process | None = None

    @property
    def current(self) -> Process:
        assert self._current is not None
        return self._current

    def note(self, text: str) -> None:
        """Add a line to the trace, which a failing seed prints."""
        self.trace.append(f"{self.now:9.3f} {text}")

    def spawn(self, name: str, host: str, main: Callable[[], None], mortal: bool = True) -> Process:
        """Start a process."""
        process = Process(name, host, next(self._pids), mortal=mortal)
        self.processes.append(process)

        def run() -> None:
            try:
                main()
            except Killed:
                pass
            except BaseException as error:
                self.errors.append((process, error))
            finally:
                if process.alive:
                    self._end(process)

        self._start(process, run)
        return process

    def thread(self, work: Callable[[], None]) -> None:
        """Start a thread of the current process."""

        def run() -> None:
            with contextlib.suppress(Killed):
                work()

        self._start(self.current, run)

    def _start(self, process: Process, run: Callable[[], None]) -> None:
        thread = greenlet(run, parent=self._hub)
        process.greenlets = [*(other for other in process.greenlets if not other.dead), thread]
        self._push(0.0, thread, process)

    def run(self, limit: float, most_operations: int) -> None:
        """Run the processes until nothing is left to do.

        Raises:
            Violation: they run for longer than ``limit`` seconds.
        """
        while self._queue:
            when, _, thread, process = heapq.heappop(self._queue)
            if not process.alive or thread.dead:
                continue
            self.now = max(self.now, when)
            if self.now > limit or self.operations > most_operations:
                raise Violation(f"something waits for ever, or works for ever ({process.name})")
            if process.stalled_until > self.now:
                self._push(process.stalled_until - self.now, thread, process)
            else:
                self._switch(thread, process)
            while self._doomed:
                self._bury(self._doomed.pop())
            for failed, error in self.errors:
                if isinstance(error, Violation):
                    raise error
                raise Violation(f"{failed.name} ends with {error!r}") from error

    def close(self) -> None:
        """End everything that still waits, so that nothing stays in memory."""
        self._queue.clear()
        for process in self.processes:
            process.alive = False
            self._bury(process)
        self.processes.clear()

    def _switch(self, thread: greenlet, process: Process) -> None:
        self._current = process
        thread.switch()
        self._current = None

    def _bury(self, process: Process) -> None:
        for thread in process.greenlets:
            if not thread.dead and thread:  # a thread that has not started has nothing to unwind
                self._current = process
                thread.throw(Killed)
                self._current = None

    @property
    def _hub(self) -> greenlet:
        current = getcurrent()
        while current.parent is not None:
            current = current.parent
        return current

    def _push(self, delay: float, thread: greenlet, process: Process) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), thread, process))

    def wait(self, seconds: float) -> None:
        """Let others run for this many seconds."""
        process = self.current
        if not process.alive:
            raise Killed
        self._push(max(0.0, seconds), getcurrent(), process)
        self._hub.switch()
        if not process.alive:
            raise Killed

    def operation(self, what: str) -> None:
        """Mark the start of an operation that others can see; ``after`` marks its end."""
        self.operations += 1
        process = self.current
        if not process.alive:
            raise Killed
        self._fault(process, what)
        self.wait(self.random.uniform(*self.latency))

    def after(self, what: str) -> None:
        """Mark the end of an operation; its process may not live to see the result."""
        self._fault(self.current, f"after {what}")

    def _fault(self, process: Process, what: str) -> None:
        if not (self.faults and process.mortal):
            return
        chance = self.random.random()
        if chance < self.kill_rate and self.may_kill(process):
            self.counts["kill"] += 1
            self.note(f"{process.name} is killed: {what}")
            self.kill(process)
        elif chance > 1 - self.stall_rate:
            seconds = self.random.choice(process.stalls)
            self.stall(process, seconds, what)
            self.wait(0.0)

    def stall(self, process: Process, seconds: float, what: str = "") -> None:
        """Stop all threads of the process, as SIGSTOP does, and let it continue later."""
        self.counts["stall"] += 1
        self.note(f"{process.name} stalls for {seconds:.0f} s: {what}")
        process.stalled_until = self.now + seconds
        process.longest_stall = max(process.longest_stall, seconds)

    def kill(self, process: Process) -> None:
        """End the process at once; raise ``Killed`` if it is the current one."""
        if not process.alive:
            return
        self._end(process)
        self._doomed.append(process)
        if process is self._current:
            raise Killed

    def _end(self, process: Process) -> None:
        process.alive = False
        for told in process.on_death:
            told()

    def repeat(self, seconds: float, work: Callable[[], None]) -> Callable[[], None]:
        """Replaces ``aa_ray.store.clock.repeat``."""
        over: list[bool] = []

        def loop() -> None:
            while True:
                self.wait(seconds)
                if over:
                    return
                work()

        self.thread(loop)

        def stop() -> None:
            over.append(True)

        return stop

    def started(self, pid: int) -> str:
        """Replaces ``aa_ray.store.processes.started``, for processes on the current host."""
        alive = (p for p in self.processes if p.pid == pid and p.host == self.current.host)
        return f"start {pid}" if any(p.alive for p in alive) else ""
