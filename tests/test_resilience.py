"""A study killed at random moments ends as an undisturbed one (benchmarks/resilience.py)."""

import random
from pathlib import Path

import pytest

from aa_ray import results
from benchmarks import resilience


def damage(report: resilience.Report) -> tuple[int, int, int, int]:
    return report.repeated, report.lost, report.duplicates, report.differing


def test_a_killed_study_ends_as_undisturbed(tiny_folder: Path, tmp_path: Path) -> None:
    study = ["--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42", "--epochs", "60",
             "--fuse", "2"]  # fmt: skip
    kinds = ["worker SIGKILL", "driver SIGKILL"]
    report = resilience.torture(study, 2, kinds, random.Random(0), tmp_path, longest=15)
    assert set(report.kills) == set(kinds) and report.trials >= 4
    assert damage(report) == (0, 0, 0, 0)
    arrays = results.read(str(tmp_path / "killed"))["array"].to_pylist()
    assert any(array is not None and len(array) == 2 for array in arrays)


@pytest.mark.slow
def test_thirty_trials_killed_twenty_times_end_as_undisturbed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    study = ["--backbone", str(tiny_folder), "--seeds", "42", "92", "111", "--epochs", "100"]
    kinds = list(resilience.KILLS)
    report = resilience.torture(study, 20, kinds, random.Random(1), tmp_path, longest=20)
    assert report.kills.total() == 20 and report.trials >= 30 and report.resumed > 0
    assert all(report.kills[kind] == 4 for kind in resilience.KILLS)
    assert damage(report) == (0, 0, 0, 0)


@pytest.mark.slow
def test_nodes_that_disappear_cost_no_trial(tiny_folder: Path, tmp_path: Path) -> None:
    study = ["--backbone", str(tiny_folder), "--seeds", "42", "92", "--epochs", "100"]
    with resilience.nodes(2) as cluster:
        kinds = resilience.CLUSTER_KILLS
        report = resilience.torture(study, 6, kinds, random.Random(2), tmp_path, 20, cluster)
    assert report.kills["node lost"] == 2
    assert damage(report) == (0, 0, 0, 0)
