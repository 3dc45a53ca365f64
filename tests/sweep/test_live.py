"""aa_ray.sweep.live and aa_ray.commands.watch: the display while trials run."""

import dataclasses
import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aa_ray.commands import watch
from aa_ray.errors import UsageError
from aa_ray.store.rows import Store
from aa_ray.store.running import RunningTrial
from aa_ray.sweep import live
from aa_ray.sweep.live import Snapshot
from aa_ray.trial import Trial
from tests.rows import row


def shown(snapshot: Snapshot, width: int = 79) -> list[str]:
    """Return the snapshot's lines on a terminal of this width."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    console.print(live.render(snapshot, width))
    return stream.getvalue().splitlines()


@pytest.fixture
def trial(make_trial: Callable[..., Trial]) -> Trial:
    return make_trial(task="sst2", seed=7, epochs=20)


def test_numbers_are_whole_where_space_is_short(trial: Trial) -> None:
    running = [RunningTrial(trial, (0.7,) * 20, (-0.2,) * 20)]
    [*_, line] = shown(Snapshot("", 1, 4, running, {trial.id: "a long title " * 4}), 60)
    assert line.split()[-4:-1] == ["20/20", "0.700", "-20.0"] and "…" in line


def test_lines_keep_their_place(make_trial: Callable[..., Trial]) -> None:
    """Whichever trial wrote its checkpoint last."""
    running = [RunningTrial(make_trial(task="sst2", seed=seed), (0.7,), (0.2,)) for seed in (7, 8)]
    titles = {of.trial.id: f"aa sst2 seed {of.trial.seed}" for of in running}
    one, other = (shown(Snapshot("", 1, 4, of, titles)) for of in (running, running[::-1]))
    assert one == other and len(one) > 3


def test_a_line_for_each_running_trial(trial: Trial) -> None:
    running = RunningTrial(trial, (0.7, 0.512), (0.25, 0.75))
    lines = shown(Snapshot("1/4 trials done", 1, 4, [running], {trial.id: "aa sst2 seed 7"}))
    assert lines[1] == "1/4 trials done" and "━" in lines[0]
    [line] = [line for line in lines if "seed 7" in line]
    assert line.split() == ["aa", "sst2", "seed", "7", "2/20", "0.512", "75.0", "▁█"]


def test_a_trial_without_a_study_is_called_by_its_settings(trial: Trial) -> None:
    lines = shown(Snapshot("", running=[RunningTrial(trial)]))
    assert any(line.startswith("sst2 100 seed 7 ") and "0/20" in line for line in lines)


def test_long_lists_and_names_fit(trial: Trial) -> None:
    many = [dataclasses.replace(trial, seed=seed) for seed in range(40)]
    running = [RunningTrial(t, (0.5,) * 20, (0.5,) * 20) for t in many]
    titles = {t.id: f"a very long name of a method and its task, seed {t.seed}" for t in many}
    failed = [f"trial {i}: " + "a long error " * 20 for i in range(9)]
    lines = shown(Snapshot("done " * 40, 3, 50, running, titles, failed), width=60)
    assert max(map(len, lines)) <= 60 and len(lines) <= 24
    assert "and 28 more" in lines and "9 failed in all" in lines
    assert any(line.startswith("failed: trial 8") for line in lines)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_a_curve_rises_and_falls_with_its_values(values: list[float]) -> None:
    bars = live.curve(values)
    kept = values[-live.CURVE :]
    assert len(bars) == len(kept)
    if max(kept) > min(kept):
        assert bars[kept.index(max(kept))] == "█" and bars[kept.index(min(kept))] == "▁"
        order = sorted(range(len(kept)), key=lambda k: kept[k])
        assert [bars[k] for k in order] == sorted(bars)


def test_a_folder_in_words(
    tmp_path: Path,
    trial: Trial,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(str(tmp_path))
    finished = datetime.now(timezone.utc) - timedelta(seconds=30)
    store.write([row("a" * 20, task="sst2", finished_at=finished)])
    store.write([row("b" * 20, status="failed", task="cola", regime="100", method="aa", seed=3,
                     error="no memory")])  # fmt: skip
    fresh = RunningTrial(trial, (0.5,), (0.6,), age=5.0)
    states = [fresh, RunningTrial(dataclasses.replace(trial, seed=8), age=4000.0)]
    monkeypatch.setattr(watch, "running_trials", lambda folder: states)
    assert watch.watch(str(tmp_path), 5.0, once=True) == 0
    said = capsys.readouterr().out
    assert "1 trials finished, the last 30 s ago, 1 failed, 1 running, 1 interrupted" in (
        " ".join(said.split())
    )
    assert "failed: cola 100 aa seed 3: no memory" in said and "seed 8" not in said


def test_an_empty_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rows and no running trials"):
        watch.watch(str(tmp_path), 5.0, once=True)
