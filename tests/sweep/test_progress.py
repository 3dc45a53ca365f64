"""aa_ray.sweep.progress: its line in a terminal and in a log file."""

import dataclasses
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from aa_ray.store.running import RunningTrial
from aa_ray.store.storage import Folder
from aa_ray.study.forecast import duration
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import progress
from aa_ray.sweep.progress import Progress, describe
from tests.study.test_grid import finish, make_study


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (9000, "2.5 h"),
        (200000, "2.3 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_describe_counts_and_estimates() -> None:
    queue = TrialQueue(make_study(), [])
    assert describe(queue, 2) == "0/25 trials done, 0 running, 25 waiting"
    queue.next()
    assert "1 running, 24 waiting" in describe(queue, 2)
    finished = TrialQueue(make_study(), [])
    finish(finished)
    assert describe(finished, 2) == "21/21 trials done, 0 running, 0 waiting"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_rewritten_and_a_last_line_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    queue, stream = TrialQueue(make_study(), []), Terminal()
    shown = Progress(queue, 2, stream=stream)
    shown.update()
    cell, trial = queue.next() or pytest.fail("nothing to run")
    running = RunningTrial(trial, (0.25,), (0.75,))
    other = RunningTrial(dataclasses.replace(trial, seed=999))  # another driver's
    asked: list[set[str]] = []

    def look(folder: Folder, first: Iterable[str], most: int) -> list[RunningTrial]:
        asked.append(set(first))
        return [running, other]

    background: list[Callable[[], None]] = []
    stopped: list[bool] = []

    def repeat(seconds: float, work: Callable[[], None]) -> Callable[[], None]:
        background.append(work)
        return lambda: stopped.append(True)

    monkeypatch.setattr(progress, "running_trials", look)
    monkeypatch.setattr(progress.clock, "repeat", repeat)
    shown = Progress(queue, 2, Folder("."), stream)
    shown.update()
    assert asked == []  # the event loop reads no checkpoints itself
    [work] = background
    work()
    assert asked == [{trial.id}]
    now = progress.time.monotonic()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now + 2)
    shown.update()
    shown.say("a remark")
    shown.close()
    assert stopped == [True]
    text = stream.getvalue()
    assert "0 running" in text and f"{cell}" in text and "0.250" in text and "999" not in text
    assert "\x1b[?25l" in text and text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor
    assert "a remark\n" in text
    assert (
        re.sub(r"\x1b\[\d[AK]", "", text.splitlines()[-1])
        == "[0:02] 0/25 trials done, 1 running, 24 waiting"
    )


def test_a_log_gets_a_line_only_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, stream = TrialQueue(make_study(), []), io.StringIO()
    shown = Progress(queue, 2, stream=stream)
    clock = progress.time.monotonic()
    for step in range(6):
        monkeypatch.setattr(progress.time, "monotonic", lambda t=step: clock + 20 * t)
        if step == 3:
            queue.next()
        shown.update()
    assert len(stream.getvalue().splitlines()) == 2 and "\r" not in stream.getvalue()


def test_every_line_of_a_large_study_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, stream = TrialQueue(make_study(), []), io.StringIO()
    counts = {"finished": 10199, "failed": 12, "running": 128, "runnable": 90810, "elsewhere": 64,
              "lost": 8}  # fmt: skip
    monkeypatch.setattr(queue, "counts", lambda: Counter(counts))
    monkeypatch.setattr(queue, "seconds_left", lambda slots: 200000.0)
    Progress(queue, 2, stream=stream).close()
    said = stream.getvalue().splitlines()
    assert len(said) == 2 and all(len(line) < 80 for line in said)
    assert "10199/101221 trials done, 12 failed, about 2.3 days left, 128 running" in said[0]
    assert said[1].endswith("64 in another driver, 8 cannot run")


def test_what_takes_long_to_find_out_is_said_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock, spent = io.StringIO(), [1000.0], [0.0]
    shown = Progress(TrialQueue(make_study(), []), 2, stream=stream)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress.time, "process_time", lambda: spent[0])

    def describe_slowly(queue: TrialQueue, slots: int) -> str:
        spent[0] += 2.0
        return f"after {spent[0]} seconds of work"

    monkeypatch.setattr(progress, "describe", describe_slowly)
    for _ in range(20):
        shown.update()
        clock[0] += 15.0
    assert stream.getvalue().count("\n") == 3  # every 100 s of 300, not every 15 s
