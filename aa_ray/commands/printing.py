"""Prints tables as wide as the terminal, with a hint if there are no rows yet."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from aa_ray.commands import first

if TYPE_CHECKING:
    from aa_ray.report.tables import Table


def print_table(table: Table, parsed: argparse.Namespace) -> None:
    """Print the table in the format of the options; text is folded to the terminal's width."""
    print(table.render(parsed.format, parsed.all_columns, text_width()), end="")


def print_unrun(table: Table, parsed: argparse.Namespace) -> None:
    """Print the command that runs a study whose table has no number yet.

    It replaces the table, except in formats for other programs. There the table is printed, and the
    command goes to standard error.
    """
    hint = "\n".join(
        [
            f"No rows of this study in {parsed.results} yet. To run it:",
            "",
            *(f"    {command}" for command in first.commands(parsed.arguments)),
        ]
    )
    if parsed.format == "text":
        print(hint)
        return
    print_table(table, parsed)
    print(hint, file=sys.stderr)


def text_width() -> int | None:
    """Characters per line: ``COLUMNS`` if it is set, else the terminal's width; None without one.

    A table that is redirected into a file or another program is not folded, unless ``COLUMNS`` is
    set. Shells do not export their own COLUMNS.
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        if sys.stdout.isatty():
            return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):  # a custom stream, such as a notebook's
        pass
    return None
