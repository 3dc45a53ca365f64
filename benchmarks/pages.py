"""A Markdown page that is written again after every addition, so that a cut-off leaves the rest."""

from pathlib import Path


class Page:
    """Sections in the order in which they were begun.

    Args:
        path: where it is kept.
        title: its first line.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._title = title
        self._sections: dict[str, list[str]] = {}

    def section(self, heading: str, *lines: str) -> None:
        """Begin a section, or put others in place of its lines."""
        self._sections[heading] = list(lines)
        self.write()

    def add(self, heading: str, *lines: str) -> None:
        """More lines at the section's end."""
        self._sections.setdefault(heading, []).extend(lines)
        self.write()

    def table(self, heading: str, text: str, *columns: str) -> None:
        """Begin a section with the head of a table, whose first column alone is text."""
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
