"""The names of aa_ray itself are imported on first use, typed, and documented by examples."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import aa_ray

SOURCE = ast.parse(Path(aa_ray.__file__).read_text("utf-8"))


def test_every_name_is_there() -> None:
    assert set(aa_ray.__all__) == set(aa_ray._PLACES) <= set(dir(aa_ray))
    for name in aa_ray.__all__:
        assert getattr(aa_ray, name) is not None
    with pytest.raises(AttributeError, match="module 'aa_ray' has no attribute 'Course'"):
        aa_ray.Course  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_see_what_python_gives() -> None:
    """The imports under TYPE_CHECKING name the modules that define the names."""
    conditions = [node for node in SOURCE.body if isinstance(node, ast.If)]
    [block] = [node for node in conditions if ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {}
    for node in block.body:
        if isinstance(node, ast.AnnAssign):  # of __version__
            continue
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            place = f"{node.module}.{alias.name}" if node.module == "aa_ray" else str(node.module)
            seen[alias.name] = place
    assert set(seen) == set(aa_ray.__all__)
    for name, place in seen.items():
        module = importlib.import_module(place)
        expected = module if place == f"aa_ray.{name}" else getattr(module, name)
        assert getattr(aa_ray, name) is expected


@pytest.mark.parametrize(
    "code",
    [
        "import aa_ray; aa_ray.results.read; aa_ray.own.load; aa_ray.architectures.METHODS",
        "from aa_ray import own; own.task; own.architecture; own.activation",
        "from aa_ray.architectures import METHODS, RATIONAL, SPEC, Method",
        "import aa_ray.results; aa_ray.results.COLUMNS",
        "from aa_ray import *; Trial, train, read, Rational, Method, METHODS, task",
        "from aa_ray import METHODS; import sys; assert 'torch' not in sys.modules",
        "from aa_ray import read; import sys; assert 'torch' not in sys.modules",
        "from aa_ray import Trial, make_trial; import sys; assert 'pyarrow' not in sys.modules",
    ],
)
def test_in_a_new_process(code: str) -> None:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", ["make_trial", "train"])
def test_what_the_documentation_says(name: str) -> None:
    """Each function documents its arguments, result and errors.

    The example is valid Python and calls the function.
    """
    function = getattr(aa_ray, name)
    text = inspect.getdoc(function)
    assert text is not None
    for section in ("Args:", "Raises:"):
        assert section in text
    for argument in inspect.signature(function).parameters:
        assert f"\n    {argument}: " in text
    example = textwrap.dedent("\n".join(re.findall(r"^(?:    .*|)$", text.split("Args:")[0], re.M)))
    assert name in {node.func.id for node in ast.walk(ast.parse(example))
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip


def test_the_documented_script(tiny_folder: Path, tmp_path: Path) -> None:
    """Runs the script, changed only to a smaller backbone, in a separate process and folder."""
    text = (Path(aa_ray.__file__).parents[1] / "docs" / "running.md").read_text("utf-8")
    [code] = re.findall(r"^```python\n(.*?)```", text, re.S | re.M)
    smaller = code.replace('"minilm"', f"{str(tiny_folder)!r}, epochs=1")
    smaller = smaller.replace("train(trial)", f"train(trial, backbone={str(tiny_folder)!r})")
    smaller += "assert isinstance(row['test_metric'], float) and row['method'] == 'custom'\n"
    (tmp_path / "mine.py").write_text(smaller)
    ran = subprocess.run(
        [sys.executable, "mine.py"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"0\.\d+ \[[\d, ]*\]\n", ran.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
