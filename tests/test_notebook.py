"""docs/quickstart.ipynb runs as committed, and its outputs reveal nothing about a machine."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
EXECUTE = ROOT / "docs" / "execute_quickstart.py"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return found


def outputs(cell: dict[str, Any]) -> list[tuple[str, str]]:
    """Return kind and text of each output.

    Numbers are left out, since another processor rounds them differently.
    """
    shown = []
    for output in cell.get("outputs", ()):
        data = output.get("data", {"text": output.get("text", "")})
        kind = "image/png" if "image/png" in data else sorted(data)[0]
        text = "".join(data[kind]) if kind != "image/png" else ""
        shown.append((kind, re.sub(r"\*\*|\[[\d, ]*\]|None|\d+(\.\d+)?", "", text).strip()))
    return shown


def test_it_has_outputs_and_nothing_of_the_machine_that_made_them() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert sum(bool(cell["outputs"]) for cell in code) >= 6
    for cell in code:
        assert cell["execution_count"] is None and not cell["metadata"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error" and output.get("name") != "stderr"
            text = json.dumps(
                {k: v for k, v in output.get("data", output).items() if k != "image/png"}
            )
            assert not re.search(r"/(home|root|tmp|usr|work|var)\b|\d:\d\d|\bcommit\b", text)


def test_it_shows_the_six_lines_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    source = "\n".join("".join(cell["source"]) for cell in cells())
    for line in re.findall(r"^.*aa_ray\.(?:add_adapter|selected_layers)\(.*?\)", readme, re.M):
        assert line in source
    for name in ("add_classification_head", "train_adapter", "aa_ray.optimizers", "aa_ray.focus"):
        assert name in source and name in readme


def test_links_lead_somewhere() -> None:
    for cell in cells():
        for link in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
            assert (NOTEBOOK.parent / link).is_file()


def test_a_notebook_becomes_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(NOTEBOOK.parent))
    markdown, pictures = runpy.run_path(str(NOTEBOOK.with_name("notebook_page.py")))["page"](
        NOTEBOOK
    )
    assert list(pictures) == ["quickstart-1.png"] and "](quickstart-1.png)" in markdown
    assert pictures["quickstart-1.png"].startswith(b"\x89PNG")
    assert "| Baseline |" in markdown and "<table" in markdown and "<style" not in markdown
    assert markdown.count("~~~~~~") % 2 == 0 and "~~~~~~bash\n%%bash\naa-ray table2" in markdown


@pytest.mark.slow
def test_it_runs_as_committed(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    execute = runpy.run_path(str(EXECUTE))["execute"]
    executed = execute(nbformat.read(NOTEBOOK, as_version=4), tmp_path)
    for cell, new in zip(cells(), executed.cells, strict=True):
        assert outputs(cell) == outputs(new), "".join(cell["source"])
