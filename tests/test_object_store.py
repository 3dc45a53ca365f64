"""Results on S3-compatible servers: rows, drivers, tables and figures."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aa_ray.store import bucket as bucket_module
from aa_ray.store import leases
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.storage import Folder
from tests import object_stores
from tests.rows import row

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", params=object_stores.SERVERS)
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URI of a bucket, with AWS's usual environment variables set."""
    if why := object_stores.missing(request.param):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param) / "objects"
    folder.mkdir()
    with object_stores.serve(request.param, folder) as server, pytest.MonkeyPatch.context() as set_:
        for name, value in (object_stores.KEYS | {"AWS_ENDPOINT_URL": server.url}).items():
            set_.setenv(name, value)
        yield f"s3://{object_stores.BUCKET}"


@pytest.fixture
def conditional(request: pytest.FixtureRequest) -> bool:
    """Return whether the server supports conditional writes; rclone ignores the condition."""
    return request.node.callspec.params["bucket"] == "moto"


def test_rows_come_back_and_are_compacted(bucket: str) -> None:
    store = Store(f"{bucket}/rows-of-two")
    assert len(store.read()) == 0 and store.folder.free_bytes() is None
    for trial in "ab":
        store.write([row(trial, status="failed", seed=1)])
    store.write([row("a", seed=1)])
    store.write([row("b", seed=2)])
    assert store.write([row("b", seed=3)]) == [row("b", seed=2)]  # the row had already finished
    assert store.read(["trial_id", "seed"]).to_pylist() == [
        {"trial_id": "a", "seed": 1}, {"trial_id": "b", "seed": 2}]  # fmt: skip
    assert store.compact() == 2
    again = Store(f"{bucket}/rows-of-two")
    assert again.trial_ids() == {"a", "b"} and again.folder.names("rows") == []
    assert again.rows("b") == [row("b", seed=2)]


def test_a_trial_has_one_driver(bucket: str) -> None:
    folder = Folder(f"{bucket}/shared")
    with Leases(folder) as one, Leases(folder) as two:
        assert one.acquire("a") and not two.acquire("a")
        one.release("a")
        assert two.acquire("a")


def test_of_two_who_create_one_succeeds(bucket: str, conditional: bool) -> None:
    folder, other = Folder(f"{bucket}/once"), Folder(f"{bucket}/once")
    assert folder.exclusive() is conditional
    assert folder.write_once("rows/a", b"one") and not other.write_once("rows/a", b"two")
    assert folder.read("rows/a") == b"one" and folder.names("leases") == []


def test_a_store_at_an_endpoint_that_the_uri_names(
    bucket: str, conditional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    uri = f"{bucket}/named?scheme=http&endpoint_override={endpoint.replace(':', '%3A')}"
    folder = Folder(uri)
    assert folder.exclusive() is conditional and folder.write_once("a", b"one")
    assert not folder.write_once("a", b"two") and folder.read("a") == b"one"


@pytest.mark.parametrize("boto", [True, False])
def test_drivers_that_meet_make_progress(
    bucket: str, conditional: bool, monkeypatch: pytest.MonkeyPatch, boto: bool
) -> None:
    """Drivers also make progress without conditional writes, where all but one withdraw."""
    if not boto and not conditional:
        pytest.skip("rclone refuses how pyarrow writes")
    if not boto:
        monkeypatch.setattr(bucket_module, "_s3_client", lambda uri: None)
    monkeypatch.setattr(leases, "PAUSE_SECONDS", 0.2)
    uri = f"{bucket}/drivers-{boto}"
    barrier = threading.Barrier(3)

    def drive() -> list[str]:
        with Leases(Folder(uri)) as mine:
            assert mine._folder.exclusive() is (boto and conditional)
            taken = []
            for trial in "abcdef":
                barrier.wait(60)
                if mine.acquire(trial):
                    taken.append(trial)
            barrier.wait(60)
            return taken

    with ThreadPoolExecutor(3) as pool:
        by_driver = list(pool.map(lambda _: drive(), range(3)))
    taken = [trial for of_driver in by_driver for trial in of_driver]
    assert len(taken) == len(set(taken))
    assert len(taken) == 6 if boto and conditional else len(taken) >= 3


def test_a_study_is_looked_at_from_anywhere(bucket: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Runs two trials without Ray, then the commands a laptop would use while a cluster works."""

    def call(*command: str) -> str:
        options = ["--backbone", str(tiny_folder), "--epochs", "1", "--results", f"{bucket}/kept"]
        ran = subprocess.run(
            [sys.executable, *command, *options],
            capture_output=True, text=True, cwd=tmp_path, timeout=300,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    for method in ("baseline", "aa"):
        call("-m", "aa_ray", "run", "--task", "sst2", "--method", method)
    study = ["--tasks", "sst2", "--seeds", "42"]
    table = str(ROOT / "studies" / "table2.py")
    assert "done      2\n" in call(table, *study, "--plan")
    assert "Baseline" in call(table, *study, "--no-run")
    assert "layers.pdf" in call(str(ROOT / "studies" / "plot_layers.py"), *study)
    assert "report.html" in call(str(ROOT / "studies" / "report.py"), *study)
