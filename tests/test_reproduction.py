"""RESULTS.md: what it says was printed from committed rows is what they print."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "RESULTS.md").read_text("utf-8")
COMMANDS = [
    line.strip()
    for line in TEXT.replace("\\\n", " ").splitlines()
    if line.startswith("    python studies/") and "--results reproduction/" in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_committed_rows_print_the_table(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, script, *arguments = shlex.split(command)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if line not in TEXT.splitlines()] == []


def test_the_readme_has_the_same_numbers() -> None:
    readme = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "±" in line]
    assert len(readme) == 7  # Table 2's lines
    for line in readme:
        _, label, *cells, _ = (cell.strip() for cell in line.split("|"))
        start = re.compile(re.escape(f"| {label} |").replace(r"\^N", r"\^\d"))
        shown = [of_table for of_table in TEXT.splitlines() if start.match(of_table)]
        found = {cell for of_table in shown for cell in re.split(r"[ *|]+", of_table)}
        assert len(cells) == 7 and set(cells) <= found


def test_there_are_committed_rows() -> None:
    assert COMMANDS
