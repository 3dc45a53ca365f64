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
    printed = capsys.readouterr().out.strip()
    assert len(printed.splitlines()) > 5 and printed in TEXT


def test_the_page_of_results_has_the_same_numbers() -> None:
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if "±" in line]
    assert len(lines) == 7  # Table 2's
    for line in lines:
        _, label, *cells, _ = (cell.strip() for cell in line.split("|"))
        start = re.compile(re.escape(f"| {label} |").replace(r"\^N", r"\^\d"))
        shown = [re.split(r"[ *]*\|[ *]*", row) for row in TEXT.splitlines() if start.match(row)]
        few, many, _, released = shown[:4]  # 100 and 500 examples, chosen rates; then released
        sst2, stsb, average = 5, 7, 11
        expected = [few[sst2], few[average], many[sst2], many[stsb], many[average]]
        assert cells == [*expected, released[sst2], released[average]]


def test_there_are_committed_rows() -> None:
    assert COMMANDS
