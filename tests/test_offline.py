"""Without the hub, commands that need it fail at once in one line, and cached files still work."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from aa_ray import hub
from aa_ray.core import backbones
from aa_ray.data.glue import HUB_DATASET
from tests.hub import served

# Libraries that take seconds to import; reporting a missing hub needs none of them.
SLOW = {"torch", "transformers", "datasets", "adapters", "ray"}
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("\\nIMPORTED", *sorted(sys.modules), file=sys.stderr))
from aa_ray import __main__
sys.argv[0] = "aa-ray"
sys.exit(__main__.main())
"""


@contextmanager
def black_hole() -> Iterator[tuple[str, list[socket.socket]]]:
    """Accept connections and never answer.

    Yields the address and the accepted connections.
    """
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        done = threading.Event()

        def take() -> None:
            while not done.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", taken
        done.set()
        thread.join()
    for connection in taken:
        connection.close()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Allow requests to the hub, unlike in other tests, and forget earlier ones."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_asked", None)
    monkeypatch.setattr(hub, "PATIENCE", 0.3)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def environment(endpoint: str, cache: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process that may use a hub at this address."""
    left_out = ("HF_", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(left_out)}
    return kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)} | more


def aa_ray(cwd: Path, env: dict[str, str], *arguments: str) -> tuple[int, str, str, set[str]]:
    """Return exit status, standard output, standard error and the imported modules."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False,
    )  # fmt: skip
    said, _, imported = ran.stderr.rpartition("\nIMPORTED ")
    return ran.returncode, ran.stdout, said.strip(), set(imported.split())


# RFC 6761 reserves .invalid for names that do not exist.
@pytest.mark.parametrize("where", ["https://hub.invalid", "http://127.0.0.1:9", "silent"])
@pytest.mark.parametrize(
    ("asked", "problem", "instead"),
    [
        (["table2", "--backbone", "me/bert"], "--backbone me/bert: neither minilm", "--backbone"),
        (["run", "--task", "sst2", "--method", "aa", "--backbone", "me/bert"], "--backbone me/bert",
         "--backbone FOLDER"),
        (["table2", "--data", "hub"], "task cola: nyu-mll/glue could not be loaded", "--data DIR"),
        (["table2", "--backbone", "roberta-base", "--tasks", "sst2", "--data", "embedded"],
         "--backbone roberta-base: not in the hub's cache", "--backbone FOLDER"),
    ],
    ids=["unknown backbone", "unknown backbone of a trial", "data", "known backbone"],
)  # fmt: skip
def test_a_name_of_the_hub_fails_at_once_in_one_line(
    where: str, asked: list[str], problem: str, instead: str, tmp_path: Path
) -> None:
    with black_hole() as (address, taken):
        endpoint = address if where == "silent" else where
        # Users have three seconds; the test uses less to save time.
        env = environment(endpoint, tmp_path, HF_HUB_ETAG_TIMEOUT="1")
        status, out, error, imported = aa_ray(tmp_path, env, *asked)
        assert len(taken) == (where == "silent")  # asked only once
    assert (status, out) == (2, "") and "\n" not in error
    assert problem in error and f"use {instead}" in error and endpoint in error
    assert f"{tmp_path}/" in error and "set HF_HUB_OFFLINE=1" in error
    assert not imported & SLOW


def test_a_user_waits_for_at_most_five_seconds(online: pytest.MonkeyPatch) -> None:
    """The silent hub may take three of these seconds; starting takes the rest."""
    online.undo()
    assert hub.PATIENCE <= 3


def test_a_plan_of_the_paper_needs_no_network(tmp_path: Path) -> None:
    with black_hole() as (address, taken):
        env = environment(address, tmp_path)
        for study in ("table2", "table4", "appendix-a"):
            asked = (study, "--preset", "paper", "--plan", "--gpus", "64")
            status, out, error, imported = aa_ray(tmp_path, env, *asked)
            assert status == 0, error
            assert "trials    864\n" in out or study != "table2"
            assert error == "" and not imported & (SLOW - {"ray"})
        status, out, error, _ = aa_ray(tmp_path, env, "table2", "--preset", "low-data", "--no-run")
        assert status == 0 and "To run it" in out
        assert not taken


def test_a_table_from_rows_needs_no_hub_either(tmp_path: Path) -> None:
    plan = ("table2", "--data", "rows", "--plan", "--backbone", "bert-base-uncased")
    assert aa_ray(tmp_path, environment("http://127.0.0.1:9", tmp_path), *plan)[0] == 0


@pytest.fixture
def fetched(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return the home of a hub cache that contains the model me/tiny."""
    model = tmp_path / "home" / "hub" / "models--me--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(tiny_folder, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    return tmp_path / "home"


def test_what_has_been_fetched_works_where_the_hub_is_silent(fetched: Path, tmp_path: Path) -> None:
    with black_hole() as (address, taken):
        env = environment(address, fetched, HF_HUB_ETAG_TIMEOUT="1")
        asked = ("run", "--task", "sst2", "--method", "baseline", "--epochs", "1")
        status, out, error, _ = aa_ray(tmp_path, env, *asked, "--backbone", "me/tiny")
        assert status == 0, error
        assert "best epoch 1" in out
        assert len(taken) == 1  # no request came from the libraries


def test_a_hub_that_answers_is_asked(online: pytest.MonkeyPatch) -> None:
    with served() as (address, _):
        online.setattr(constants, "ENDPOINT", address)
        assert hub.silence() == ""
        assert hub.refusal(False, Path("cache"), "nothing") == ""
        with hub.from_cache_if_silent(True):
            assert not constants.HF_HUB_OFFLINE


def test_whoever_sets_the_variable_waits_longer(online: pytest.MonkeyPatch) -> None:
    with black_hole() as (address, taken):
        online.setattr(constants, "ENDPOINT", address)
        online.setenv("HF_HUB_ETAG_TIMEOUT", "1")
        assert "has not answered for 1 s" in hub.silence()
        online.delenv("HF_HUB_ETAG_TIMEOUT")
        assert hub.silence()  # the silence is remembered
        assert len(taken) == 1
        online.setattr(hub, "MEMORY", 0)
        assert "has not answered for 0.3 s" in hub.silence()
        assert len(taken) == 2


def test_a_name_server_that_never_answers(online: pytest.MonkeyPatch) -> None:
    """The timeouts of requests do not cover name resolution."""
    release = threading.Event()

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        release.wait(60)
        raise socket.gaierror("too late")

    online.setattr(socket, "getaddrinfo", getaddrinfo)
    online.setattr(constants, "ENDPOINT", "https://hub.invalid")
    started = time.monotonic()
    assert "has not answered" in hub.silence()
    assert time.monotonic() - started < 30
    release.set()


@pytest.mark.parametrize(("status", "silent"), [(503, True), (404, False), (401, False)])
def test_a_gateway_without_hub_is_silence(
    status: int, silent: bool, online: pytest.MonkeyPatch
) -> None:
    class Session:
        def head(self, *_: Any, **__: Any) -> Any:
            return type("Answer", (), {"status_code": status})

    online.setattr("huggingface_hub.utils.get_session", Session)
    assert (str(status) in hub.silence()) == silent


def test_the_flag_is_set_for_the_block_alone(online: pytest.MonkeyPatch) -> None:
    import transformers.utils.hub as theirs

    online.setattr(theirs, "_is_offline_mode", False)
    online.setattr(hub, "silence", lambda: "silent")
    with hub.from_cache_if_silent(False):
        assert not constants.HF_HUB_OFFLINE
    with suppress(KeyError), hub.from_cache_if_silent(True):
        assert constants.HF_HUB_OFFLINE and theirs.is_offline_mode()
        raise KeyError
    assert not constants.HF_HUB_OFFLINE and not theirs.is_offline_mode()


def test_what_is_cached(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(fetched / "hub"))
    monkeypatch.setattr(constants, "HF_HOME", str(fetched))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    assert hub.cached_file("me/other", "config.json") is None
    assert hub.cached_file("/no/name/of/a/model", "config.json") is None
    assert not hub.has_dataset(HUB_DATASET, "rte")
    (fetched / "datasets" / "nyu-mll___glue" / "rte" / "0.0.0").mkdir(parents=True)
    assert hub.has_dataset(HUB_DATASET, "rte") and not hub.has_dataset(HUB_DATASET, "cola")
    assert hub.has_dataset(HUB_DATASET)


def test_a_known_backbone_that_is_fetched_is_available(online: pytest.MonkeyPatch) -> None:
    online.setattr(hub, "silence", lambda: "the hub is silent")
    backbone = backbones.Backbone("bert-base-uncased", "bert-base-uncased", 12, 768)
    online.setattr(hub, "cached_file", lambda *_: None)
    with pytest.raises(backbones.UsageError, match="and the hub is silent"):
        backbones.check_available(backbone)
    online.setattr(hub, "cached_file", lambda *_: Path("model.safetensors"))
    backbones.check_available(backbone)
