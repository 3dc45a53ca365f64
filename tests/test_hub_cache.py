"""cluster/hub_cache.py: one machine downloads from the hub, and the others copy its cache."""

import io
import tarfile
from pathlib import Path

import pytest

from aa_ray.errors import UsageError
from cluster import hub_cache


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of requests to a stand-in for the hub.

    The stand-in puts a file, and a link to it, into the cache, as the hub's client does.
    """
    asked: list[str] = []

    def fetch(backbone: str, names: list[str]) -> None:
        asked.append(f"{backbone} {' '.join(names)}")
        (hub_cache.cache() / "blobs").mkdir(parents=True)
        (hub_cache.cache() / "blobs" / "abc").write_bytes(b"weights")
        (hub_cache.cache() / "model").symlink_to("blobs/abc")

    monkeypatch.setattr(hub_cache, "fetch", fetch)
    return asked


def run(monkeypatch: pytest.MonkeyPatch, machine: Path, *arguments: str) -> int:
    monkeypatch.setenv("HF_HOME", str(machine))
    return hub_cache.main(list(arguments))


def test_the_hub_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[str]
) -> None:
    archive = (tmp_path / "bucket" / "hub.tar").as_uri()
    (tmp_path / "bucket").mkdir()
    fill = ("fill", archive, "--backbone", "some/bert", "--tasks", "cola", "rte")
    assert run(monkeypatch, tmp_path / "head", *fill) == 0
    assert run(monkeypatch, tmp_path / "worker", "take", archive) == 0
    assert run(monkeypatch, tmp_path / "next-head", *fill) == 0
    assert hub == ["some/bert cola rte"]
    for machine in ("worker", "next-head"):
        assert (tmp_path / machine / "model").read_bytes() == b"weights"
        assert (tmp_path / machine / "model").readlink() == Path("blobs/abc")
    assert [path.name for path in (tmp_path / "bucket").iterdir()] == ["hub.tar"]


def test_a_shared_cache_needs_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[str]
) -> None:
    assert run(monkeypatch, tmp_path / "shared", "fill") == 0
    assert len(hub) == 1 and (tmp_path / "shared" / "model").exists()


def test_what_cannot_be_had_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(backbone: str, names: list[str]) -> None:
        raise UsageError("the hub\ndoes not answer")

    monkeypatch.setattr(hub_cache, "fetch", fetch)
    assert run(monkeypatch, tmp_path / "head", "fill") == 1
    assert capsys.readouterr().err == "hub_cache.py: the hub does not answer\n"
    assert run(monkeypatch, tmp_path / "worker", "take", str(tmp_path / "hub.tar")) == 1
    assert "hub.tar does not exist; run fill on another machine first" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, tmp_path / "worker", "take")


def test_an_archive_writes_nothing_outside_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "hub.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    assert run(monkeypatch, tmp_path / "worker", "take", str(tmp_path / "hub.tar")) == 1
    assert not (tmp_path / "outside").exists()
