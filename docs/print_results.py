"""Update the tables in RESULTS.md and docs/results in place, from the committed rows.

A table follows the command that prints it and ends at the next heading, picture or command. Run
this after changing the form of a table; tests/test_reproduction.py fails until the pages match.

    python docs/print_results.py
    python docs/print_results.py docs/results/2026-11/claims.md
"""

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENDS = ("#", "    python ")


def pages() -> list[Path]:
    """The pages that may contain printed tables."""
    return [ROOT / "RESULTS.md", *sorted((ROOT / "docs" / "results").rglob("*.md"))]


def is_command(line: str) -> bool:
    """Whether a line is a command that prints from committed rows."""
    return line.startswith("    python studies/") and "--results reproduction/" in line


def printed(command: str) -> list[str]:
    """The output lines of the command.

    Raises:
        CalledProcessError: the command failed.
    """
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()


def renewed(lines: list[str]) -> list[str]:
    """The page's lines with all tables printed again; other lines stay as they are."""
    kept: list[str] = []
    while lines:
        line, *lines = lines
        kept.append(line)
        if is_command(line):
            stop = next((i for i, text in enumerate(lines) if text.startswith(ENDS)), len(lines))
            kept += replaced(lines[:stop], printed(line))
            lines = lines[stop:]
    return kept


def replaced(lines: list[str], new: list[str]) -> list[str]:
    """The lines after a command, with the new output instead of the old one, or at the start.

    Output begins with a caption, whose first word stays, and ends with the last row of a table.
    """
    word = new[0].split(" ")[0]
    start = next((i for i, line in enumerate(lines) if line.startswith(f"{word} ")), None)
    rows = [i for i, line in enumerate(lines) if line.startswith("|")]
    if start is None or not rows:
        return ["", *new, *lines]
    return [*lines[:start], *new, *lines[rows[-1] + 1 :]]


def main(arguments: list[str]) -> None:
    """Update these pages, or all of them."""
    for page in map(Path, arguments) if arguments else pages():
        text = page.read_text("utf-8")
        page.write_text("\n".join(renewed(text.splitlines())).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
