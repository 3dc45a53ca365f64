"""A study killed at random moments ends like an undisturbed one (benchmarks/resilience.py)."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aa_ray.store.rows import read
from benchmarks.torture import page
from benchmarks.torture.disturbed import torture
from benchmarks.torture.places import Place
from benchmarks.torture.report import Report
from tests import namespaces, object_stores

TOP = Path(__file__).parent.parent

# Two seeds of Baseline, AA, AdapterDrop and AA-focused; more if AA's seeds select different numbers
# of layers, which depends on the CPU's last digits.
LEAST_TRIALS = 2 * 4

# So many that one study lasts until all faults have happened, on a fast machine too.
EPOCHS = "150"


def damage(report: Report) -> tuple[int, int, int, int]:
    return report.repeated, report.lost, report.duplicates, report.differing


@pytest.mark.slow
def test_a_killed_study_ends_as_undisturbed(tiny_folder: Path, tmp_path: Path) -> None:
    study = ["--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds", "42",
             "--epochs", EPOCHS, "--fuse", "2"]  # fmt: skip
    kinds = ("worker SIGKILL", "driver SIGKILL")
    report = torture(Place(tmp_path), study, 2, random.Random(0), 5, kinds)
    assert set(report.kills) == set(kinds) and report.trials >= 4
    assert damage(report) == (0, 0, 0, 0)
    arrays = read(str(tmp_path / "disturbed"))["array"].to_pylist()
    assert any(array is not None and len(array) == 2 for array in arrays)


@pytest.mark.slow
def test_thirty_trials_killed_twenty_times_end_as_undisturbed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    study = ["--backbone", str(tiny_folder), "--seeds", "42", "92", "111"]
    study += ["--epochs", EPOCHS]
    report = torture(Place(tmp_path), study, 20, random.Random(1), longest=15)
    assert report.kills.total() == 20 and report.trials >= 30 and report.resumed > 0
    assert all(report.kills[kind] in (3, 4) for kind in Place.kinds)
    assert damage(report) == (0, 0, 0, 0)


def disturbed(*options: str) -> list[str]:
    """Run the benchmark's command; return the cells of its table, which say that no row suffered.

    Its command line, since Ray's nodes need their own signal handlers.
    """
    study = ["--tasks", "qqp", "--seeds", "42", "92", "--epochs", EPOCHS]
    command = [sys.executable, "-m", "benchmarks.resilience", *options, "--", *study]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=TOP, timeout=500)
    assert ran.returncode == 0, ran.stderr
    cells = ran.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert cells[1] == "1" and cells[5:9] == ["0", "0", "0", "0"] and int(cells[3]) >= LEAST_TRIALS
    return cells


@pytest.mark.slow
def test_nodes_that_disappear_cost_no_trial() -> None:
    kills = disturbed("--faults", "3", "--nodes", "2", "--longest", "5")[0]
    assert kills == "3 (1 driver SIGKILL, 1 node lost, 1 worker SIGKILL)"


@pytest.mark.slow
@pytest.mark.parametrize(("store", "faults"), [("moto", 7), ("rclone", 8)])
def test_a_store_that_fails_costs_no_trial(store: str, faults: int) -> None:
    if why := object_stores.missing(store):
        pytest.skip(why)
    kills = disturbed("--faults", str(faults), "--store", store, "--longest", "5")[0]
    assert kills.count("1 ") == faults


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(bool(namespaces.missing()), reason=namespaces.missing() or "-")
def test_hosts_without_power_or_network_cost_no_trial() -> None:
    kills = disturbed("--faults", "7", "--hosts", "--longest", "5")[0]
    assert "1 host lost, 1 link down" in kills


def test_a_log_continues(tmp_path: Path) -> None:
    """Faults and damage of the logged studies add up."""
    log = tmp_path / "log"
    one = Report(Counter({"driver SIGKILL": 2}), 1, 3, 4, 1, 0, 0, 0, 0, 5.0)
    one.append_to(log)
    one.append_to(log)
    total = Report.read(log)
    assert total.kills == {"driver SIGKILL": 4} and (total.studies, total.trials) == (2, 8)
    assert total.markdown().startswith("| 4 (4 driver SIGKILL) | 2 | 6 | 8 | 2 |")


def test_the_page_is_the_sum_of_the_logs() -> None:
    assert page.page() == (TOP / "benchmarks/resilience.md").read_text()
    total = Report()
    for log in sorted(page.LOGS.glob("*.jsonl")):
        assert log.stem in page.PLACES
        total.add(Report.read(log))
    assert damage(total) == (0, 0, 0, 0)
