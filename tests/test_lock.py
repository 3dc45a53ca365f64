"""requirements.lock and the images built from it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib", reason="new in Python 3.11")

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def entries() -> list[list[str]]:
    """Return each package's lines: the requirement, then its hashes."""
    text = re.sub(r"^\s*#.*\n", "", LOCK.read_text("utf-8"), flags=re.M)
    joined = text.replace("\\\n", " ").splitlines()
    return [line.split(" --hash=") for line in joined if line.strip()]


def test_every_package_has_a_version_and_hashes_and_no_place() -> None:
    assert len(entries()) > 100
    for requirement, *hashes in entries():
        assert len(Requirement(requirement.strip()).specifier) == 1 and "==" in requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", each) for each in hashes)
    assert not re.search(r"://|file:|--(extra-)?index|--find-links", LOCK.read_text("utf-8"))


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_it_fits_what_the_project_asks_for(python: str) -> None:
    """Each dependency appears once, in a version that pyproject.toml allows."""
    environment = {
        "python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux",
        "platform_machine": "x86_64", "platform_system": "Linux", "extra": "",
    }  # fmt: skip
    locked: dict[str, str] = {}
    for line, *_ in entries():
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            [version] = requirement.specifier
            assert locked.setdefault(canonicalize_name(requirement.name), version.version)
            assert locked[canonicalize_name(requirement.name)] == version.version
    for text in (*PROJECT["dependencies"], *EXTRAS["demo"], *EXTRAS["cluster"]):
        wanted = Requirement(text)
        assert locked[canonicalize_name(wanted.name)] in wanted.specifier, text


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_is_built_from_the_lock_and_not_run_by_root(image: Path) -> None:
    text = image.read_text("utf-8")
    assert "pip install --require-hashes --no-deps -r" in text
    assert text.count("pip install") == 2 + text.count("torch==")
    assert re.findall(r"^USER (\d+)$", text, re.M) == ["1000"]
    [pinned] = [d for d in PROJECT["dependencies"] if d.startswith("torch==")]
    assert set(re.findall(r"torch==[\d.]+", text)) <= {pinned}


def test_the_image_for_cpus_takes_all_but_the_software_of_gpus(tmp_path: Path) -> None:
    """Runs the exact command of the image's Dockerfile."""
    text = (ROOT / "docker" / "cpu.Dockerfile").read_text("utf-8")
    [program] = re.findall(r"awk '(.*)' requirements\.lock", text)
    kept = subprocess.run(
        ["awk", program, str(LOCK)], capture_output=True, text=True, check=True
    ).stdout
    names = set(re.findall(r"^([a-z][\w.-]*)==", kept, re.M))
    all_names = {Requirement(line.strip()).name for line, *_ in entries()}
    dropped = all_names - names
    assert {"torch", "triton", "nvidia-cublas"} <= dropped
    assert all(re.match(r"torch$|triton$|nvidia-|cuda-", name) for name in dropped)
    assert kept.count("--hash=") == sum(len(h) for line, *h in entries()
                                        if Requirement(line.strip()).name in names)  # fmt: skip
