"""aa_ray.sweep.ray_token: only the owner can read Ray's token."""

import stat
from pathlib import Path

import pytest

from aa_ray.sweep import ray_token


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_for_its_owner_alone(home: Path) -> None:
    ray_token.protect()
    [path] = (home / ".ray").iterdir()
    assert path.name == "auth_token" and mode(path) == 0o600 and mode(path.parent) == 0o700
    made = path.read_text()
    assert len(made) == 64 and int(made, 16)
    ray_token.protect()
    assert path.read_text() == made


def test_a_token_that_others_may_read_is_closed_and_kept(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("mine")
    path.chmod(0o644)
    ray_token.protect()
    assert (path.read_text(), mode(path)) == ("mine", 0o600)


def test_a_token_elsewhere_is_closed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "token"
    path.write_text("mine")
    path.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    ray_token.protect()
    assert mode(path) == 0o600 and not (home / ".ray").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_MODE", "disabled"),
                        ("RAY_AUTH_TOKEN_PATH", "/nowhere/token")]
)  # fmt: skip
def test_what_the_environment_says_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ray_token.protect()
    assert not (home / ".ray").exists()


def test_a_home_that_cannot_be_written_to_is_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    ray_token.protect()
