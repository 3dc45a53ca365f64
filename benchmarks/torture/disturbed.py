"""One study, disturbed again and again until it has finished, and compared with a quiet run."""

import contextlib
import random
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.torture.places import Place, processes
from benchmarks.torture.report import Report

# How long a driver may take to notice that its Ray has died.
NOTICE_SECONDS = 180

# Share of a study's starts in which the first fault waits until a worker exists. In the others it
# may hit Ray while it starts.
WITH_WORKERS = 0.8


def torture(
    place: Place,
    arguments: list[str],
    faults: int,
    draw: random.Random,
    longest: float,
    kinds: tuple[str, ...] = (),
    before: Counter[str] | None = None,
) -> Report:
    """Disturb the study this many times, let it finish, and compare it with an undisturbed run.

    Args:
        place: where the study runs. Its undisturbed run is used again if it exists.
        arguments: of the study.
        draw: decides what happens and when, at most ``longest`` seconds after the last fault.
        kinds: of faults, by default all of the place's; those used least are drawn first.
        before: faults of earlier studies, which count for which kinds were used least.

    Raises:
        SystemExit: a run failed without a fault.
    """
    if not place.existed("undisturbed"):
        _finish(place, "undisturbed", place.start(arguments, "undisturbed"))
    disturbed = _Disturbed(place, kinds or place.kinds, faults, draw, longest, Counter(before))
    began, finished = time.monotonic(), dict[str, Any]()
    while True:
        running = place.start(arguments, "disturbed")
        disturbed.report.starts += 1
        ended = disturbed.follow(running)
        ended = ended and not (running.returncode and place.refused("disturbed"))
        if ended:
            _finish(place, "disturbed", running)
        _wait_for_workers(place)
        place.settle()
        disturbed.report.count_repeated(place.results("disturbed"), finished)
        if ended:
            break
    disturbed.report.seconds = time.monotonic() - began
    disturbed.report.compare(place.results("undisturbed"), place.results("disturbed"))
    return disturbed.report


def torture_studies(
    place: Place, arguments: list[str], faults: int, each: int, seed: int, longest: float,
    log: Path | None,
) -> Report:  # fmt: skip
    """Torture one study after the other, each at most ``each`` times, until there were enough."""
    total = Report.read(log)
    while (left := faults - total.kills.total()) > 0:
        draw = random.Random(f"{seed} {total.studies}")
        now = min(left, each)
        report = torture(place, arguments, now, draw, longest, before=total.kills)
        place.remove("disturbed")
        total.add(report)
        if log is not None:
            report.append_to(log)
    return total


class _Disturbed:
    """A study in the hands of its tormentor, over all of its starts."""

    def __init__(
        self, place: Place, kinds: tuple[str, ...], faults: int, draw: random.Random,
        longest: float, used: Counter[str],
    ) -> None:  # fmt: skip
        self.report = Report(studies=1)
        self._place, self._kinds, self._faults = place, kinds, faults
        self._draw, self._longest, self._used = draw, longest, used

    def follow(self, running: "subprocess.Popen[bytes]") -> bool:
        """Cause faults until the driver has ended. Return whether it ended by itself."""
        if self._draw.random() < WITH_WORKERS and self._ended_before_workers(running):
            return True
        while self.report.kills.total() < self._faults:
            if self._ended_within(running, self._draw.uniform(0, self._longest)):
                return True
            kind = min(self._kinds, key=lambda kind: (self._used[kind], self._draw.random()))
            if self._place.strike(kind, running.pid, self._draw):
                self.report.kills[kind] += 1
                self._used[kind] += 1
                if kind.startswith(self._place.ending):
                    # Without Ray, the driver ends by itself.
                    if not self._ended_within(running, NOTICE_SECONDS):
                        raise SystemExit(f"the driver has not ended after {kind}")
                    return False
        while not self._ended_within(running, 1):
            pass
        return True

    def _ended_before_workers(self, running: "subprocess.Popen[bytes]") -> bool:
        """Wait for a worker; return whether the driver has ended instead."""
        while not self._place.victims("worker", self._draw):
            if self._ended_within(running, 0.5):
                return True
        return False

    def _ended_within(self, running: "subprocess.Popen[bytes]", seconds: float) -> bool:
        """Whether the driver ends within this time, in which the place is tended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._place.tend()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(min(left, 1))
                return True
        return False


def _finish(place: Place, name: str, running: "subprocess.Popen[bytes]") -> None:
    if running.wait():
        raise SystemExit(f"the {name} study failed:\n{place.log(name).read_text()}")


def _wait_for_workers(place: Place) -> None:
    """Wait for workers that end with their driver."""
    while any(command.startswith("ray::") for command in processes(place.mark).values()):
        time.sleep(0.2)
