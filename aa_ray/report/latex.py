"""Tables in LaTeX for a journal: booktabs, numbers aligned by siunitx, within the page.

The width decides the environment. A narrow table fits one column of a two-column article, a wider
one spans both (``table*``), and an even wider one is scaled down to both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aa_ray.report.tables import DASH, MINUS, SUPERSCRIPT, Entry

if TYPE_CHECKING:
    from aa_ray.report.tables import Section, Table

# A number and the text after it: a deviation, marks, the number of seeds.
NUMBER = re.compile(rf"([+{MINUS}-]?\d+(?:\.\d+)?)(|±.*| \(.*|[†‡].*)")

# Width in characters, as measured in a two-column article at 10 pt.
ONE_COLUMN, TWO_COLUMNS = 48, 100

_TEXT = {MINUS: "$-$", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "|": r"$|$",
         "$": r"\$", "~": r"\textasciitilde{}", "{": r"\{", "}": r"\}", "<": r"$<$", ">": r"$>$",
         "†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}",
         "\\": r"\textbackslash{}"}  # fmt: skip


def render(table: Table) -> str:
    """The table in LaTeX, with a label made from its name."""
    numeric = [_is_numeric(column) for column in _columns(table)]
    width = _width(table)
    environment = "table" if width <= ONE_COLUMN else "table*"
    caption, label = _caption(table.caption)
    body = _tabular(table, numeric)
    if width > TWO_COLUMNS:
        body = [r"\resizebox{\linewidth}{!}{%", *body[:-1], body[-1] + "}"]
    return "\n".join([
        r"% \usepackage{booktabs,graphicx,siunitx}",
        rf"\begin{{{environment}}}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        *body,
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{{label}}}",
        rf"\end{{{environment}}}",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """LaTeX for the text, with the marks of ``SUPERSCRIPT`` raised."""

    def plain(part: str) -> str:
        return "".join(_TEXT.get(c, c) for c in part)

    parts = SUPERSCRIPT.split(text)  # plain, mark, plain, mark, ..., plain
    return "".join(
        rf"\textsuperscript{{{plain(part)}}}" if i % 2 else plain(part)
        for i, part in enumerate(parts)
    )


def _tabular(table: Table, numeric: list[bool]) -> list[str]:
    # A numeric column is two columns in LaTeX: the number, and the text after it.
    kinds = [
        f"S[table-format={_format(column)},detect-weight]@{{}}l" if is_numeric else _side(column)
        for column, is_numeric in zip(_columns(table), numeric, strict=True)
    ]
    out = [
        r"\begin{tabular}{l" + "".join(kinds) + "}",
        r"\toprule",
        _line("", [_heading(c, n) for c, n in zip(table.columns, numeric, strict=True)]),
    ]
    places = 1 + sum(2 if is_numeric else 1 for is_numeric in numeric)
    for section in table.sections:
        out += [r"\midrule", *_section(section, numeric, places)]
    return [*out, r"\bottomrule", r"\end{tabular}"]


def _section(section: Section, numeric: list[bool], places: int) -> list[str]:
    heading = rf"\multicolumn{{{places}}}{{l}}{{{escaped(section.heading)}}} \\"
    lines = [
        _line(label, [_cell(entry, n) for entry, n in zip(entries, numeric, strict=True)])
        for label, entries in section.lines
    ]
    return [heading, *lines] if section.heading else lines


def _line(label: str, cells: list[str]) -> str:
    return " & ".join([escaped(label), *cells]) + r" \\"


def _heading(column: str, is_numeric: bool) -> str:
    return rf"\multicolumn{{2}}{{c}}{{{escaped(column)}}}" if is_numeric else escaped(column)


def _cell(entry: Entry, is_numeric: bool) -> str:
    bold = r"\bfseries " if entry.best else ""
    if not is_numeric:
        return bold + escaped(entry.text)
    parts = NUMBER.fullmatch(entry.text)
    if parts is None:
        return rf"\multicolumn{{2}}{{c}}{{{escaped(entry.text)}}}"
    number, rest = parts[1].replace(MINUS, "-"), escaped(parts[2])
    return rf"{bold}{number} & {bold}{rest}"


def _format(column: list[Entry]) -> str:
    """siunitx's format of the numbers: sign if any, digits before and after the point."""
    numbers = [parts[1] for entry in column if (parts := NUMBER.fullmatch(entry.text))]
    digits = [number.lstrip(f"+-{MINUS}").partition(".") for number in numbers]
    sign = "-" if any(number[0] in f"+-{MINUS}" for number in numbers) else ""
    whole, behind = (max(len(part[i]) for part in digits) for i in (0, 2))
    return f"{sign}{whole}.{behind}" if behind else f"{sign}{whole}.0"


def _is_numeric(column: list[Entry]) -> bool:
    """Whether all entries except dashes start with a number."""
    texts = [entry.text for entry in column if entry.text not in ("", DASH)]
    return bool(texts) and all(NUMBER.fullmatch(text) for text in texts)


def _side(column: list[Entry]) -> str:
    """Alignment: words to the left; intervals, shares and p values to the right."""
    texts = [entry.text for entry in column if entry.text not in ("", DASH)]
    figures = [text for text in texts if text[0] in f"+-{MINUS}<" or text[0].isdigit()]
    return "r" if len(figures) * 2 > len(texts) else "l"


def _columns(table: Table) -> list[list[Entry]]:
    lines = [entries for section in table.sections for _, entries in section.lines]
    return [[entries[i] for entries in lines] for i in range(len(table.columns))]


def _width(table: Table) -> int:
    """Number of characters in the widest line, with two between columns."""
    labels = [label for section in table.sections for label, _ in section.lines]
    columns = zip(table.columns, _columns(table), strict=True)
    widths = [max(len(name), *(len(e.text) for e in column), 0) for name, column in columns]
    return max(map(len, labels), default=0) + sum(width + 2 for width in widths)


def _caption(text: str) -> tuple[str, str]:
    """The caption without a leading "Table 2.", since LaTeX numbers tables itself, and a label."""
    text = " ".join(text.split())
    name, _, rest = text.partition(". ")
    label = "tab:" + re.sub(r"\W+", "-", name.lower()).strip("-")[:40]
    return (rest if re.fullmatch(r"Table \d+", name) else text), label
