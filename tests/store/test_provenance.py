"""aa_ray.store.provenance: a row's record of its origin."""

import importlib.metadata
import importlib.util
import json
import subprocess
import types
from pathlib import Path

import pytest
import torch

from aa_ray.store import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a git checkout from which the package seems to run."""
    room = tmp_path / "aa_ray" / "store"
    room.mkdir(parents=True)
    (room / "provenance.py").write_text("")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(provenance, "__file__", str(room / "provenance.py"))
    return tmp_path


def test_commit_of_a_checkout(checkout: Path) -> None:
    found, dirty = provenance.commit()
    head = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found == head.stdout.strip() and dirty is False


@pytest.mark.parametrize(
    ("path", "dirty"),
    [("aa_ray/store/provenance.py", True), ("aa_ray/core/new.py", True), ("notes.txt", False)],
)
def test_dirty_means_the_code_differs(checkout: Path, path: str, dirty: bool) -> None:
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("changed")
    assert provenance.commit()[1] is dirty


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "aa_ray" / "store" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == (None, None)


def test_installed_below_the_checkout_of_something_else(checkout: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "rm", "-q", "-r", "--cached", "aa_ray"], check=True)
    assert provenance.commit() == (None, None)


def test_versions_are_those_installed() -> None:
    versions = json.loads(provenance.versions(torch.device("cpu")))
    assert versions["torch"] == torch.__version__
    assert versions["ray"] == importlib.metadata.version("ray")


def test_memory_and_device_on_the_cpu() -> None:
    device = torch.device("cpu")
    assert provenance.peak_memory_bytes(device) > 50e6
    assert provenance.device_name(device) == f"cpu, {torch.get_num_threads()} threads"


def test_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is what torch allows the process.

    Torch itself resolves a device without a number.
    """
    memory = torch.cuda.memory
    monkeypatch.setattr(memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch._C, "_cuda_getMemoryFraction", lambda _: 0.25, raising=False)
    properties = types.SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    for name in ("cuda", "cuda:1"):
        assert provenance.device_memory_bytes(torch.device(name)) == 20 * 10**9
    assert provenance.device_memory_bytes(torch.device("cpu")) is None


def test_versions_on_a_gpu() -> None:
    """The versions include the GPU's software, as far as they are known."""
    installed = importlib.util.find_spec("triton") is not None
    for device in ("cpu", "cuda"):
        versions = json.loads(provenance.versions(torch.device(device)))
        assert ("triton" in versions) == (device == "cuda" and installed)
        assert versions["torch"] == importlib.metadata.version("torch")
