"""Converts a notebook to a page of the documentation site: Markdown, and its pictures."""

import base64
import json
import re
from pathlib import Path
from typing import Any

FENCE = "~~~~~~"


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The notebook's Markdown, and name -> content of its pictures, which belong beside it."""
    lines: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines.append(source)
            continue
        lines.append(_fenced(source, "bash" if source.startswith("%%bash") else "python"))
        lines += [_output(output, path.stem, pictures) for output in cell["outputs"]]
    return "\n\n".join(lines) + "\n", pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    """Markdown of one output, in the richest form that a page can show."""
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    data = output["data"]
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![The figure that the cell above shows]({name})"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    if "text/html" in data:
        return re.sub(
            r"<style.*?</style>\s*|</?div>\s*", "", "".join(data["text/html"]), flags=re.S
        )
    return _fenced("".join(data["text/plain"]), "text")


def _fenced(text: str, language: str) -> str:
    return f"{FENCE}{language}\n{text.rstrip()}\n{FENCE}"
