"""A study killed at random moments ends like an undisturbed one (benchmarks/resilience.py)."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aa_ray.store.rows import read
from benchmarks import resilience


def damage(report: resilience.Report) -> tuple[int, int, int, int]:
    return report.repeated, report.lost, report.duplicates, report.differing


@pytest.mark.slow
def test_a_killed_study_ends_as_undisturbed(tiny_folder: Path, tmp_path: Path) -> None:
    study = ["--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42", "--epochs", "60",
             "--fuse", "2"]  # fmt: skip
    kinds = ["worker SIGKILL", "driver SIGKILL"]
    report = resilience.torture(study, 2, kinds, random.Random(0), tmp_path, longest=15)
    assert set(report.kills) == set(kinds) and report.trials >= 4
    assert damage(report) == (0, 0, 0, 0)
    arrays = read(str(tmp_path / "killed"))["array"].to_pylist()
    assert any(array is not None and len(array) == 2 for array in arrays)


@pytest.mark.slow
def test_thirty_trials_killed_twenty_times_end_as_undisturbed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    study = ["--backbone", str(tiny_folder), "--seeds", "42", "92", "111", "--epochs", "100"]
    kinds = list(resilience.KILLS)
    report = resilience.torture(study, 20, kinds, random.Random(1), tmp_path, longest=20)
    assert report.kills.total() == 20 and report.trials >= 30 and report.resumed > 0
    assert all(report.kills[kind] in (3, 4) for kind in resilience.KILLS)
    assert damage(report) == (0, 0, 0, 0)


@pytest.mark.slow
def test_nodes_that_disappear_cost_no_trial(tiny_folder: Path, tmp_path: Path) -> None:
    """Uses the benchmark's command line, since Ray's nodes need their own signal handlers."""
    command = [
        sys.executable,
        resilience.__file__,
        "--kills",
        "3",
        "--nodes",
        "2",
        "--longest",
        "15",
        "--",
        "--backbone",
        str(tiny_folder),
        "--tasks",
        "qqp",
        "--epochs",
        "60",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=500)
    assert ran.returncode == 0, ran.stderr
    kills, studies, _, trials, _, *damages, _ = ran.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert kills == "3 (1 driver SIGKILL, 1 node lost, 1 worker SIGKILL)" and int(trials) >= 9
    assert studies == "1" and damages == ["0", "0", "0", "0"]


def test_a_log_continues(tmp_path: Path) -> None:
    """Kills and damage of the logged studies add up."""
    log = tmp_path / "log"
    one = resilience.Report(Counter({"driver SIGKILL": 2}), 1, 3, 4, 1, 0, 0, 0, 0, 5.0)
    log.write_text(2 * (json.dumps(vars(one)) + "\n"))
    total = resilience.Report.read(log)
    assert total.kills == {"driver SIGKILL": 4} and (total.studies, total.trials) == (2, 8)
    assert total.markdown().startswith("| 4 (4 driver SIGKILL) | 2 | 6 | 8 | 2 |")
