"""aa_ray.sweep.plan: the output of --plan on a study's command line."""

from pathlib import Path

import pytest

from aa_ray.study.forecast import Plan
from aa_ray.sweep import plan
from tests.commands.test_study import table2


def test_plan_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table2("--plan", "--results", str(tmp_path)) == 0
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["trials"] == "36" and lines["done"] == "0" and lines["runnable"] == "12"
    assert lines["blocked"].startswith("24 ")
    assert lines["time"].startswith("left not known until")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "slots"),
    [
        (("--gpus-per-trial", "0.25"), 4),
        (("--max-concurrent", "64"), 64),
        (("--cpus-per-trial", "1"), None),
    ],
)
def test_plan_estimates_for_as_many_at_once_as_asked(
    arguments: tuple[str, ...],
    slots: int | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(plan.memory, "local_gpus", lambda: [])
    monkeypatch.setattr(
        plan.TrialQueue, "plan", lambda _, slots, fuse: Plan(100.0, 7.0 * slots, 50.0)
    )
    assert table2("--plan", "--results", str(tmp_path), *arguments) == 0
    assert f"with {slots or 64} trials at once" in capsys.readouterr().out


def test_plan_for_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        plan.TrialQueue, "plan", lambda _, slots, fuse: Plan(7200.0, 3600.0 * slots, 9.0)
    )
    arguments = ("--plan", "--results", str(tmp_path), "--gpus", "64", "--gpus-per-trial", "0.5")
    assert table2(*arguments) == 0
    said = capsys.readouterr().out
    assert "about 2.0 h on 64 GPUs with 128 trials at once" in said
    assert "64.0 GPU-hours of work, GPU utilisation 50 %" in said
