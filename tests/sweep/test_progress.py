"""aa_ray.sweep.progress: what the line says, in a terminal and in a log file."""

import io
from collections import Counter

import pytest

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


def test_a_terminal_line_is_rewritten_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, stream = TrialQueue(make_study(), []), Terminal()
    shown = Progress(queue, 2, stream)
    shown.update()
    queue.next()
    now = progress.time.monotonic()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now + 2)
    shown.update()
    shown.close()
    lines = stream.getvalue().split("\r")
    assert "0 running" in lines[1] and "1 running" in lines[2]
    assert all(len(line.rstrip("\n")) <= 79 for line in lines)
    assert stream.getvalue().endswith("\n")


def test_a_log_gets_a_line_only_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, stream = TrialQueue(make_study(), []), io.StringIO()
    shown = Progress(queue, 2, stream)
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
    Progress(queue, 2, stream).close()
    said = stream.getvalue().splitlines()
    assert len(said) == 2 and all(len(line) < 80 for line in said)
    assert "10199/101221 trials done, 12 failed, about 2.3 days left, 128 running" in said[0]
    assert said[1].endswith("64 at another driver, 8 cannot run")


def test_what_takes_long_to_find_out_is_said_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock, spent = io.StringIO(), [1000.0], [0.0]
    shown = Progress(TrialQueue(make_study(), []), 2, stream)
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
