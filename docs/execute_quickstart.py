"""Execute docs/quickstart.ipynb and keep its outputs: python docs/execute_quickstart.py

Parts that differ from run to run, such as times and counters, are removed.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")
# A cell that is executed first and not kept. It turns warnings of the notebook's code into errors.
STRICT = "import warnings\nwarnings.simplefilter('error')"


def execute(notebook: Any, folder: Path, seconds: int = 1200) -> Any:
    """The notebook with the outputs of its code, run in this folder.

    Args:
        seconds: maximum time of one cell.

    Raises:
        nbclient.exceptions.CellExecutionError, RuntimeError: a cell fails, or warns.
    """
    executed = nbformat.from_dict(notebook)
    executed.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    executed.cells.append(nbformat.v4.new_code_cell("warnings.resetwarnings()"))  # IPython's end
    client = NotebookClient(
        executed, timeout=seconds, resources={"metadata": {"path": str(folder)}},
        record_timing=False, coalesce_streams=True,
    )  # fmt: skip
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    client.execute(env=environment)
    del executed.cells[0], executed.cells[-1]
    _check(executed)
    for cell in executed.cells:
        _clean(cell)
    executed.metadata = notebook.metadata
    return executed


def _check(executed: Any) -> None:
    """Refuse what nbclient accepts: an error hidden by %%capture, and text on standard error."""
    for cell in executed.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error" or output.get("name") == "stderr":
                raise RuntimeError(f"{cell.source}\n\n{output}")


def _clean(cell: Any) -> None:
    """Remove counters and times."""
    if cell.cell_type == "code":
        cell.execution_count = None
        cell.metadata = {}
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None


def main() -> None:
    """Execute the notebook in an empty folder, and write it with its outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(execute(notebook, Path(folder)), NOTEBOOK)


if __name__ == "__main__":
    main()
