"""The demo preset for a newcomer: every study's command runs with the packaged MiniLM."""

import subprocess
import sys
from pathlib import Path

import pytest

from aa_ray.store.rows import read

STUDIES = Path(__file__).parent.parent / "studies"

# Part of the demo's grid, for commands that need two policies.
PART = ["--tasks", "sst2", "--seeds", "42"]

# The order matters: later commands find the rows of earlier ones. The ladder of step_size would
# take an hour, so it gets part of the demo's grid, too.
COMMANDS: list[tuple[str, list[str]]] = [
    ("table1", []),
    ("table2", []),
    ("table3", []),
    ("table4", []),
    ("table4", [*PART, "--rates", "released"]),
    ("controls", ["--last-n", "3"]),
    ("controls", [*PART, "--last-n", "3", "--rates", "released"]),
    (
        "controls",
        [
            *PART,
            "--last-n",
            "3",
            "--rates",
            "tuned",
            "--tuning-budget",
            "2",
            "--epochs",
            "1",
            "--methods",
            "baseline",
        ],
    ),
    ("appendix_a", ["--backbone", "minilm"]),
    ("fidelity", ["--tasks", "qqp", "--seeds", "42"]),
    ("step_size", ["--tasks", "qqp", "--seeds", "42", "--epochs", "3"]),
    ("claims", []),
    ("cells", []),
    ("policies", PART),
    ("contrasts", [*PART, "--last-n", "3"]),
    ("efficiency", []),
    ("plot_rationals", []),
    ("plot_layers", []),
    ("plot_tuning", [*PART, "--last-n", "3", "--tuning-budget", "2", "--epochs", "1"]),
    ("plot_tables", []),
    ("plot_status", []),
    ("plot_effects", [*PART, "--last-n", "3"]),
    ("report", []),
    ("plot_step_size", ["--tasks", "qqp", "--seeds", "42", "--epochs", "3"]),
]


@pytest.mark.slow
def test_every_study_runs_on_the_demo_preset(tmp_path: Path) -> None:
    assert {study for study, _ in COMMANDS} == {path.stem for path in STUDIES.glob("*.py")}
    for study, arguments in COMMANDS:
        command = [sys.executable, str(STUDIES / f"{study}.py"), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=1800)
        assert ran.returncode == 0, f"{study}: {ran.stderr}"
        assert ran.stdout.strip() and "Traceback" not in ran.stderr
    rows = read(str(tmp_path / "results"))
    assert set(rows["status"].to_pylist()) == {"finished"}
    assert len(list((tmp_path / "figures").glob("*.pdf"))) >= 5
