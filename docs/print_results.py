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
ENDS = ("#", "![", "    python ", "*")


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
    """The page's lines with all tables printed again."""
    kept: list[str] = []
    while lines:
        line, *lines = lines
        kept.append(line)
        if is_command(line):
            while lines and not lines[0].startswith(ENDS):
                lines = lines[1:]
            kept += ["", *printed(line), *([""] if lines else [])]
    return kept


def main(arguments: list[str]) -> None:
    """Update these pages, or all of them."""
    for page in map(Path, arguments) if arguments else pages():
        text = page.read_text("utf-8")
        page.write_text("\n".join(renewed(text.splitlines())) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
