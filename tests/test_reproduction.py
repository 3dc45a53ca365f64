"""The tables in RESULTS.md and docs/results match what the committed rows print."""

import runpy
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks import devices

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "RESULTS.md", *sorted((ROOT / "docs" / "results").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Return the commands of a page that print from committed rows."""
    lines = page.read_text("utf-8").replace("\\\n", " ").splitlines()
    return [
        line.strip()
        for line in lines
        if line.startswith("    python studies/") and "--results reproduction/" in line
    ]


CASES = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(
    ("page", "command"), CASES, ids=[f"{page.stem} {command}" for page, command in CASES]
)
def test_the_committed_rows_print_the_table(
    page: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, script, *arguments = shlex.split(command)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out.strip()
    assert len(printed.splitlines()) > 5 and printed in page.read_text("utf-8")


def test_there_are_committed_rows() -> None:
    assert CASES


def test_the_committed_rows_print_the_comparison_of_devices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    page = Path("benchmarks/devices.md").read_text("utf-8")
    command = next(line for line in page.splitlines() if "python -m benchmarks.devices" in line)
    monkeypatch.setattr(sys, "argv", ["devices", *shlex.split(command)[3:]])
    devices.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) > 3 and "\n".join(table) in page
