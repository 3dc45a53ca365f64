"""The package as pip installs it: every folder and data file, and a study that runs from there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import aa_ray

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools leaves a build folder behind; without a network."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(TOP / "aa_ray", source / "aa_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        TOP / "studies", source / "studies", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir",
        str(source / "out"), str(source))  # fmt: skip
    [path] = (source / "out").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the wheel is installed."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python elsewhere, with the installed package alone."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False,
    )  # fmt: skip


def test_it_holds_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        str(path.relative_to(TOP))
        for path in (TOP / "aa_ray").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".nbc", ".nbi")  # numba's are compiled
    }
    package |= {f"aa_ray/studies/{path.name}" for path in (TOP / "studies").glob("*.py")}
    assert {name for name in names if not name.startswith("aa_ray-")} == package
    assert {"aa_ray/py.typed", "aa_ray/report/style.mplstyle",
            "aa_ray/report/templates/report.html"} < names  # fmt: skip
    assert wheel.name.startswith(f"aa_ray-{aa_ray.__version__}-py3-none-any")


def test_a_study_from_the_installed_package(
    installed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    where = run(installed, tmp_path, "-c", "import aa_ray; print(aa_ray.__file__)")
    assert where.stdout.startswith(str(installed)), where.stderr
    arguments = ("-m", "aa_ray", "table2", "--backbone", str(tiny_folder), "--tasks", "sst2")
    plan = run(installed, tmp_path, *arguments, "--plan")
    assert plan.returncode == 0 and "runnable " in plan.stdout, plan.stderr
    table = run(installed, tmp_path, *arguments, "--no-run", "--format", "markdown")
    assert table.returncode == 0 and "| Baseline | –" in table.stdout, table.stderr
    version = run(installed, tmp_path, "-m", "aa_ray", "table2", "--version")
    assert version.stdout == f"aa-ray {aa_ray.__version__}\n"  # there is no commit


def test_a_trial_and_its_report_from_the_installed_package(
    installed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """The page needs the templates and the style."""
    one = ("--backbone", str(tiny_folder), "--epochs", "1")
    trained = run(installed, tmp_path, "-m", "aa_ray", "run", "--task", "sst2", "--method",
                  "baseline", *one)  # fmt: skip
    assert trained.returncode == 0 and "best epoch 1" in trained.stdout, trained.stderr
    page = run(
        installed, tmp_path, "-m", "aa_ray", "report", "--tasks", "sst2", "--seeds", "42", *one
    )
    assert page.returncode == 0, page.stderr
    assert "<svg" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_a_study_on_ray_from_the_installed_package(
    installed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Ray's workers import the installed package too."""
    table = run(installed, tmp_path, "-m", "aa_ray", "table2", "--backbone", str(tiny_folder),
                "--tasks", "sst2", "--seeds", "42", "--methods", "baseline",
                "--epochs", "1")  # fmt: skip
    assert table.returncode == 0 and "Baseline" in table.stdout, table.stderr
    assert len(list(tmp_path.glob("results/rows/*.parquet"))) == 1
