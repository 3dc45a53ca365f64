"""The package as pip installs it: its version, its files, and a study run from the installation."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "tag.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *IDENTITY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def scm_version(folder: Path) -> str:
    """Return the version of a folder, which may or may not be a git checkout."""
    command = [sys.executable, "-m", "setuptools_scm"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout of only the package's files, at the tag v0.3.0."""
    folder = tmp_path_factory.mktemp("source")
    built = shutil.ignore_patterns("__pycache__", "_version.py")
    for name in ("aa_ray", "studies"):
        shutil.copytree(TOP / name, folder / name, ignore=built)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(TOP / name, folder)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        git(folder, *command)
    git(folder, "tag", "-a", "v0.3.0", "-m", "v0.3.0")
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the sdist and from it the wheel, without a network."""
    out = tmp_path_factory.mktemp("out")
    copy = tmp_path_factory.mktemp("copy") / "source"  # setuptools leaves a build folder in it
    shutil.copytree(source, copy)
    ran = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and return the folder."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python outside the checkout, with only the installed package."""
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
        if path.is_file() and path.suffix not in (".pyc", ".nbc", ".nbi")  # numba's caches
    } | {"aa_ray/_version.py"}
    package |= {f"aa_ray/studies/{path.name}" for path in (TOP / "studies").glob("*.py")}
    assert {name for name in names if not name.startswith("aa_ray-")} == package
    assert {"aa_ray/py.typed", "aa_ray/report/style.mplstyle",
            "aa_ray/report/templates/report.html"} < names  # fmt: skip


def test_the_version_is_that_of_the_tag(built: tuple[Path, Path], source: Path) -> None:
    """The wheel has the version too, although it was built without git."""
    sdist, wheel = built
    assert (sdist.name, wheel.name) == ("aa_ray-0.3.0.tar.gz", "aa_ray-0.3.0-py3-none-any.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {path for path in git(source, "ls-files").splitlines() if path != ".gitignore"}
    assert tracked <= names and "aa_ray/_version.py" in names


def test_twine_accepts_both(built: tuple[Path, Path]) -> None:
    pytest.importorskip("twine", reason="twine is not installed")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0 and ran.stdout.count("PASSED") == 2, ran.stdout + ran.stderr


def test_versions_between_tags_and_without_them(source: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(source), str(clone))
    assert scm_version(clone) == "0.3.0"
    (clone / "README.md").write_text("changed")
    git(clone, "commit", "-qam", "second")
    commit = git(clone, "rev-parse", "HEAD")
    later = scm_version(clone)
    assert re.fullmatch(r"0\.3\.1\.dev1\+g[0-9a-f]{7,}", later)
    assert commit.startswith(later.rpartition("+g")[2])
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-tags", f"file://{clone}", str(shallow))
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]{7,}", scm_version(shallow))
    shutil.rmtree(shallow / ".git")
    assert scm_version(shallow) == "0.0"


def test_a_study_from_the_installed_package(
    installed: Path, source: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    where = run(installed, tmp_path, "-c", "import aa_ray; print(aa_ray.__file__)")
    assert where.stdout.startswith(str(installed)), where.stderr
    arguments = ("-m", "aa_ray", "table2", "--backbone", str(tiny_folder), "--tasks", "sst2")
    plan = run(installed, tmp_path, *arguments, "--plan")
    assert plan.returncode == 0 and "runnable " in plan.stdout, plan.stderr
    table = run(installed, tmp_path, *arguments, "--no-run", "--format", "markdown")
    assert table.returncode == 0 and "| Baseline | –" in table.stdout, table.stderr
    version = run(installed, tmp_path, "-m", "aa_ray", "table2", "--version")
    commit = git(source, "rev-parse", "HEAD")
    assert version.stdout == f"aa-ray 0.3.0, commit {commit}\n"


def test_a_trial_and_its_report_from_the_installed_package(
    installed: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """The report needs the packaged templates and style."""
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
