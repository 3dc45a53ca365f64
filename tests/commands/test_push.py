"""aa_ray.commands.push: upload an adapter's folder to a stand-in for the hub."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from aa_ray.commands import card
from aa_ray.commands.push import push
from aa_ray.errors import SweepError, UsageError
from tests.commands.test_card import HUB_BERT, make
from tests.hub import served

__all__ = ["make"]  # a fixture


@pytest.fixture
def folder(tmp_path: Path, make: Callable[..., tuple[Any, Any]]) -> Path:
    """Write a folder as an export leaves it: the card and other files."""
    trained, row = make()
    (tmp_path / "README.md").write_text(card.text(trained, row, HUB_BERT), "utf-8")
    (tmp_path / "pytorch_adapter.bin").write_bytes(bytes(range(256)))
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Yield the files uploaded to a stand-in for the hub."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with served() as (address, made):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        _http.reset_sessions()
        yield made
        _http.reset_sessions()


def test_pushed_with_the_users_token(
    hub: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert push(folder, "me/sst2").endswith("/me/sst2")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    front = huggingface_hub.ModelCard(hub.pop("front matter").decode()).data.to_dict()
    assert hub == files
    assert front["library_name"] == "adapter-transformers" and front["metrics"] == ["accuracy"]


def test_pushing_fails_with_one_line(
    hub: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UsageError, match=r"the hub refused \(Invalid username"):
        push(folder, "me/sst2")
    with pytest.raises(UsageError, match="--push no such/name/x"):
        push(folder, "no such/name/x")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match="no token for the hub"):
        push(folder, "me/sst2")
    assert not hub  # nothing was uploaded


def test_pushing_without_a_network_can_be_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with pytest.raises(SweepError, match="is complete; run the same command"):
        push(folder, "me/sst2")
