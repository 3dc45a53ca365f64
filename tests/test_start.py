"""Commands start quickly: each may import only certain modules before it has something to do.

Each case runs in a separate process, which prints its imported modules at exit.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import aa_ray
from aa_ray.store.rows import Store
from aa_ray.store.schema import FINISHED, make_row

TOP = Path(__file__).parents[1]
STUDIES = sorted(path.stem for path in (TOP / "studies").glob("*.py"))
SUBCOMMANDS = ("run", "export", "compact", "watch", "doctor", "completion")

# Importing these takes from a third of a second (scipy.stats) to three seconds (transformers).
HEAVY = {
    "adapters", "datasets", "matplotlib", "numba", "ray", "scipy.stats", "sklearn", "torch",
    "transformers",
}  # fmt: skip
# The only third-party packages that a table needs.
OF_TABLES = {"numpy", "pyarrow"}

PRINT = """
import atexit, sys
atexit.register(lambda: print("\\nIMPORTED", *sorted(sys.modules), file=sys.stderr))
"""
RUN = (
    PRINT
    + """
import runpy
name, *sys.argv = sys.argv[1:]
if name.endswith(".py"):
    runpy.run_path(name, run_name="__main__")
else:
    runpy.run_module(name, run_name="__main__", alter_sys=True)
"""
)


def started(code: str, *arguments: str, cwd: Path) -> tuple[int, str, set[str]]:
    """Return exit status, output and imported modules of a program."""
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
    said, _, imported = ran.stderr.rpartition("\nIMPORTED ")
    return ran.returncode, ran.stdout + said, set(imported.split())


def command(name: str, *arguments: str, cwd: Path) -> tuple[int, str, set[str]]:
    """Call ``started`` for a study or for ``aa_ray``."""
    program = name if name == "aa_ray" else str(TOP / "studies" / f"{name}.py")
    return started(RUN, program, program, *arguments, cwd=cwd)


@pytest.mark.parametrize("study", STUDIES)
def test_help_and_wrong_options_of_a_study(study: str, tmp_path: Path) -> None:
    status, said, imported = command(study, "--help", cwd=tmp_path)
    assert status == 0 and "usage: " in said
    assert not imported & (HEAVY | {"pyarrow"})
    status, said, imported = command(study, "--format", "html", "--output", "x", cwd=tmp_path)
    assert status == 2
    assert not imported & (HEAVY | {"pyarrow"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tasks", "colla"), ("--methods", "laura"), ("--epochs", "0"), ("--bananas",),
        ("--set", "tempo=1"), ("--gpus", "8"), ("--rates", "fast"), ("--backbone", "minilm", "x"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_options(arguments: tuple[str, ...], tmp_path: Path) -> None:
    status, _, imported = command("table2", *arguments, cwd=tmp_path)
    assert status == 2
    assert not imported & (HEAVY | {"pyarrow"})


@pytest.mark.parametrize("name", ["aa_ray", *SUBCOMMANDS])
def test_help_and_wrong_options_of_the_package(name: str, tmp_path: Path) -> None:
    subcommand = () if name == "aa_ray" else (name,)
    for arguments, expected in (("--help", 0), ("--bananas", 2)):
        status, _, imported = command("aa_ray", *subcommand, arguments, cwd=tmp_path)
        assert status == expected
        assert not imported & (HEAVY | {"pyarrow", "numpy"})


@pytest.mark.parametrize("name", [*STUDIES, "aa_ray"])
def test_version(name: str, tmp_path: Path) -> None:
    status, said, imported = command(name, "--version", cwd=tmp_path)
    assert status == 0 and said.startswith(f"aa-ray {aa_ray.__version__}")
    head = subprocess.run(["git", "-C", str(TOP), "rev-parse", "HEAD"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if head.returncode == 0:
        assert f", commit {head.stdout.strip()}" in said
    assert not imported & (HEAVY | {"pyarrow"})


def test_import_of_the_package(tmp_path: Path) -> None:
    _, _, imported = started(PRINT + "import aa_ray", cwd=tmp_path)
    outside = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert not imported & (HEAVY | OF_TABLES)
    assert {name for name in outside if not name.startswith("_")} <= {"aa_ray", "sitecustomize"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a results folder with one row that belongs to no study, so tables hold only dashes."""
    folder = tmp_path_factory.mktemp("results")
    row = make_row({"trial_id": "a", "task": "sst2", "data_source": "embedded-1"}, FINISHED)
    Store(str(folder)).write([row])
    return folder


@pytest.mark.parametrize("study", ["table2", "table3", "table4", "controls", "appendix_a",
                                   "fidelity", "step_size"])  # fmt: skip
def test_a_table_from_rows(study: str, folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    for more in (("--no-run",), ("--no-run", "--data", "rows", "--format", "csv")):
        arguments = ("--backbone", str(tiny_folder), "--results", str(folder), *more)
        status, said, imported = command(study, *arguments, cwd=tmp_path)
        assert status == 0 and "results: " in said, said
        assert not imported & HEAVY


def test_a_plan(folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ("--plan", "--backbone", str(tiny_folder), "--results", str(folder))
    status, said, imported = command("table2", *arguments, cwd=tmp_path)
    assert status == 0 and "runnable  12" in said
    assert not imported & HEAVY


def test_a_finished_study_is_judged_without_torch(tmp_path: Path) -> None:
    """Covers all rows, intervals and learned activations of docs/results/2026-11-cls."""
    results = str(TOP / "reproduction" / "2026-11-cls" / "minilm")
    options = (
        "--data rows --tasks cola sst2 mrpc stsb rte --regimes 100 500 --seeds 42 92 111 "
        "--precision bf16 --set pooling=cls"
    )
    status, said, imported = command("claims", *options.split(), "--results", results, cwd=tmp_path)
    assert status == 0 and "C13" in said, said
    assert not imported & HEAVY


def test_the_cases_can_fail(tmp_path: Path) -> None:
    """A study with a heavy import is detected."""
    (tmp_path / "slow.py").write_text("import sklearn\n")
    _, _, imported = started(RUN, str(tmp_path / "slow.py"), "slow.py", cwd=tmp_path)
    assert imported & HEAVY
