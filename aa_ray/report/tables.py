"""Tables, and their rendering as text, Markdown, LaTeX or CSV."""

import csv
import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

# An entry without a number.
DASH = "–"

FORMATS = ("text", "markdown", "latex", "csv")

# The mark of ``name^mark``, which is raised if the format allows it.
SUPERSCRIPT = re.compile(r"\^([\w-]+)")

# A hyphen used as a minus sign: before a number, and not within a word or range.
HYPHEN_MINUS = re.compile(r"(?<![\w.)^-])-(?=\d)")
MINUS = "\N{MINUS SIGN}"


class Entry(NamedTuple):
    """One cell of a table.

    ``best`` is shown in bold, or with a star if the format has no bold. The numbers behind the text
    (mean, deviation, number of seeds) are for CSV, and so is ``state``, what has been learned there
    (``aa_ray.report.learned.State``), if that is known.
    """

    text: str
    best: bool = False
    mean: float | None = None
    deviation: float | None = None
    seeds: int | None = None
    state: str | None = None


@dataclass(frozen=True)
class Section:
    """Lines under one heading (a regime); each has a label and entries."""

    heading: str
    lines: list[tuple[str, list[Entry]]]


@dataclass(frozen=True)
class Table:
    """A table before formatting: caption, names of the columns after the label, sections."""

    caption: str
    columns: list[str]
    sections: list[Section]

    def render(self, style: str, all_columns: bool = False, width: int | None = None) -> str:
        """The table in one of ``FORMATS``, ending in a newline.

        LaTeX needs the packages booktabs, graphicx and siunitx. CSV has one line per entry, with
        full precision and all columns.

        Args:
            all_columns: whether to print columns without an entry too.
            width: characters of a line of text; a wider table is folded, into blocks of columns,
                one below another. None: a table is as wide as it needs to be. Other formats are
                never folded.
        """
        if style == "csv":
            return _csv(self).rstrip("\n") + "\n"
        from aa_ray.report import latex  # here, since it imports this module

        shown = (self if all_columns else self.without_empty_columns())._with_minus_signs()
        if style == "text":
            text = _text(shown, width)
        else:
            text = {"markdown": _markdown, "latex": latex.render}[style](shown)
        return text.rstrip("\n") + "\n"

    def without_empty_columns(self) -> "Table":
        """The table without columns of dashes; unchanged if it has no others."""
        lines = [entries for section in self.sections for _, entries in section.lines]
        kept = [
            i
            for i in range(len(self.columns))
            if any(entries[i].text not in ("", DASH) for entries in lines)
        ]
        if not kept:
            return self
        columns = [self.columns[i] for i in kept]
        return self._changed(columns, lambda entries: [entries[i] for i in kept])

    def without_empty_lines(self) -> "Table":
        """The table without lines that have no number, and without sections left empty by that."""
        sections = [
            Section(section.heading, [line for line in section.lines if _has_entries(line[1])])
            for section in self.sections
        ]
        return Table(self.caption, self.columns, [s for s in sections if s.lines])

    def _with_minus_signs(self) -> "Table":
        return self._changed(
            self.columns,
            lambda entries: [e._replace(text=HYPHEN_MINUS.sub(MINUS, e.text)) for e in entries],
        )

    def _changed(self, columns: list[str], change: Callable[[list[Entry]], list[Entry]]) -> "Table":
        """The table with other columns, and with ``change`` applied to each line's entries."""
        sections = [
            Section(section.heading, [(label, change(entries)) for label, entries in section.lines])
            for section in self.sections
        ]
        return Table(self.caption, columns, sections)


def _has_entries(entries: list[Entry]) -> bool:
    return any(entry.text != DASH for entry in entries)


def _text(table: Table, width: int | None) -> str:
    caption = [_filled(line, width) for line in table.caption.splitlines()]
    labels = [label for section in table.sections for label, _ in section.lines]
    margin = 2 + max(map(len, labels), default=0)
    blocks = _fold(_column_widths(table), margin, width)
    return "\n".join([*caption, *(_block(table, columns, margin, width) for columns in blocks)])


def _column_widths(table: Table) -> list[int]:
    """The width of each column's cells, without the space between columns."""
    lines = [entries for section in table.sections for _, entries in section.lines]
    return [
        max([len(column), *(len(entries[i].text) for entries in lines)])
        for i, column in enumerate(table.columns)
    ]


def _fold(widths: list[int], margin: int, width: int | None) -> list[dict[int, int]]:
    """Column -> its width, for each block of columns that fits beside the labels.

    A column that is too wide on its own is still a block.
    """
    blocks: list[dict[int, int]] = [{}]
    used = margin
    for column, needed in enumerate(widths):
        # A space before each cell, and room for a star after it.
        if width is not None and blocks[-1] and used + needed + 2 > width:
            blocks.append({})
            used = margin
        blocks[-1][column] = needed
        used += needed + 2
    return blocks


def _block(table: Table, columns: dict[int, int], margin: int, width: int | None) -> str:
    """These columns of the table, below their names."""

    def aligned(label: str, texts: list[str], best: list[bool]) -> str:
        # Each column has room for a star after it, so that the numbers stay aligned.
        cells = [
            " " + texts[i].rjust(needed) + ("*" if best[i] else " ")
            for i, needed in columns.items()
        ]
        return (label.ljust(margin) + "".join(cells)).rstrip()

    lines = ["", aligned("", table.columns, [False] * len(table.columns))]
    for section in table.sections:
        lines.append(section.heading if width is None else _filled(section.heading, width))
        lines += [
            aligned(f"  {label}", [e.text for e in entries], [e.best for e in entries])
            for label, entries in section.lines
        ]
    return "\n".join(lines)


def _filled(line: str, width: int | None) -> str:
    return textwrap.fill(line, 79 if width is None else max(20, min(79, width)))


def _markdown(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    out = [table.caption, "", line(["", *table.columns])]
    out.append("|---|" + "---:|" * len(table.columns))
    for section in table.sections:
        out.append(line([f"**{section.heading}**", *[""] * len(table.columns)]))
        for label, entries in section.lines:
            out.append(line([label, *(f"**{e.text}**" if e.best else e.text for e in entries)]))
    return "\n".join(out)


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["section", "row", "column", "mean", "deviation", "seeds", "best", "state"])
    for section in table.sections:
        for label, entries in section.lines:
            for column, entry in zip(table.columns, entries, strict=True):
                numbers = [entry.mean, entry.deviation, entry.seeds, int(entry.best), entry.state]
                writer.writerow([*map(_harmless, (section.heading, label, column)), *numbers])
    return stream.getvalue()


def _harmless(text: str) -> str:
    """The text, after an apostrophe if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
