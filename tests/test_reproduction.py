"""RESULTS.md: what it says was printed from committed rows is what they print."""

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


def test_there_are_committed_rows() -> None:
    assert COMMANDS
