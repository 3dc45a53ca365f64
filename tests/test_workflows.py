"""The workflows in .github/, for anyone who hosts the project, do the same as .ci/run."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def workflow(name: str) -> Any:
    return yaml.safe_load((GITHUB / "workflows" / f"{name}.yml").read_text("utf-8"))


def commands(name: str) -> list[str]:
    jobs = workflow(name)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", sorted(GITHUB.rglob("*.yml")), ids=lambda path: path.name)
def test_a_file_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)


def test_tests_run_on_every_supported_python() -> None:
    versions = workflow("tests")["jobs"]["pytest"]["strategy"]["matrix"]["python"]
    [oldest] = re.findall(r'requires-python = ">=([\d.]+)"', PROJECT)
    assert versions == [f"3.{minor}" for minor in range(10, 14)] and versions[0] == oldest


def test_checks_are_those_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    for command in ("ruff format --check .", "ruff check .", "lint-imports", "mypy"):
        assert command in commands("tests") and f"\n{command}\n" in ci
    assert "mkdocs build --strict" in commands("docs") and "mkdocs build --strict" in ci


def test_the_package_is_checked_everywhere_before_it_is_published() -> None:
    assert ".ci/package" in commands("tests")
    assert "\n.ci/package\n" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert commands("release")[-1] == ".ci/package dist"
    assert workflow("release")["jobs"]["publish"]["needs"] == "build"
    assert (ROOT / ".ci" / "package").stat().st_mode & 0o100


@pytest.mark.parametrize("path", sorted(GITHUB.glob("workflows/*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    """A tag can be moved; Dependabot reads the version from the comment."""
    used = re.findall(r"uses: (.*)", path.read_text("utf-8"))
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", use) for use in used)


def test_only_the_jobs_that_publish_may_write() -> None:
    for name in ("tests", "docs", "release"):
        content = workflow(name)
        assert content["permissions"] == {"contents": "read"}
        allowed = [job for job, steps in content["jobs"].items() if "permissions" in steps]
        assert allowed == (["publish"] if name != "tests" else [])


def test_the_changelog_is_kept_as_the_release_expects() -> None:
    """Follows https://keepachangelog.com: dated versions, and each kind of change at most once."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.split(r"^## ", text, flags=re.M)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section in versions:
        assert re.match(r"\[Unreleased\]\n|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d\n", section)
        headings = re.findall(r"^### (.*)", section, re.M)
        assert len(set(headings)) == len(headings) and set(headings) <= kinds


def test_the_site_is_built_with_the_versions_of_the_project() -> None:
    [install] = [command for command in commands("docs") if command.startswith("pip install")]
    for package in re.findall(r"'([^']*)'", install):
        assert f'"{package}"' in PROJECT


def test_results_do_not_change_by_an_update() -> None:
    [pip, *_] = yaml.safe_load((GITHUB / "dependabot.yml").read_text("utf-8"))["updates"]
    ignored = {entry["dependency-name"] for entry in pip["ignore"]}
    pinned = set(re.findall(r'^    "(\w+)(?:\[\w+\])?==', PROJECT, re.M)) - {"mypy", "ruff"}
    assert ignored == pinned == {"torch", "adapters", "transformers", "ray"}
