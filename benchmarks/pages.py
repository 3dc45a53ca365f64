"""A Markdown page that is rewritten after every addition, so an interruption loses nothing."""

from pathlib import Path


class Page:
    """Sections in the order in which they began.

    Args:
        path: where the page is written.
        title: its first line.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._title = title
        self._sections: dict[str, list[str]] = {}

    def section(self, heading: str, *lines: str) -> None:
        """Begin a section, or replace its lines."""
        self._sections[heading] = list(lines)
        self.write()

    def add(self, heading: str, *lines: str) -> None:
        """Add lines to the end of a section."""
        self._sections.setdefault(heading, []).extend(lines)
        self.write()

    def table(self, heading: str, text: str, *columns: str) -> None:
        """Begin a section with a table head. Only the first column is text."""
        lines = [text, ""] if text else []
        rule = "|---|" + "---:|" * (len(columns) - 1)
        self.section(heading, *lines, f"| {' | '.join(columns)} |", rule)

    def row(self, heading: str, *cells: object) -> None:
        self.add(heading, f"| {' | '.join(str(cell) for cell in cells)} |")

    def write(self) -> None:
        parts = [f"# {self._title}"]
        for heading, lines in self._sections.items():
            parts.append("\n".join(([f"## {heading}", ""] if heading else []) + lines))
        self._path.write_text("\n\n".join(parts) + "\n", "utf-8")
