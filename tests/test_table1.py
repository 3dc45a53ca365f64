"""studies/table1.py through its real command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.report import paper_tables

SCRIPT = Path(__file__).parent.parent / "studies" / "table1.py"


def table1(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_sizes_and_metrics(tmp_path: Path) -> None:
    ran = table1("--format", "markdown", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "| MNLI | 2000 | 300 | 392702 | 9815 | accuracy |" in ran.stdout
    assert "| CoLA | 2000 | 300 | 8551 | 1043 | Matthews correlation |" in ran.stdout


def test_tasks_that_are_not_there_and_a_folder_that_is_not(tmp_path: Path) -> None:
    table = paper_tables.table1(Source.named(str(tmp_path)))
    printed = table.render("markdown", all_columns=True)
    assert "| RTE | – | – | 2490 | 277 | accuracy |" in printed
    with pytest.raises(UsageError, match="no such folder"):
        paper_tables.table1(Source.named(str(tmp_path / "nowhere")))
