"""Results on S3, as moto serves it on the loopback address: rows, drivers, tables and figures."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.storage import Folder
from tests.rows import row

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URI of a bucket; what AWS's own variables would say in the cloud is set."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        boto3.client("s3").create_bucket(Bucket="my-bucket")
        yield "s3://my-bucket"
    server.stop()


def test_rows_come_back_and_are_compacted(bucket: str) -> None:
    store = Store(f"{bucket}/rows-of-two")
    assert len(store.read()) == 0 and store.folder.free_bytes() is None
    for trial in "ab":
        store.write([row(trial, status="failed", seed=1)])
    store.write([row("a", seed=1)])
    store.write([row("b", seed=2)])
    assert store.write([row("b", seed=3)]) == [row("b", seed=2)]  # it has finished
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


def test_a_study_is_looked_at_from_anywhere(bucket: str, tiny_folder: Path, tmp_path: Path) -> None:
    """Two trials are run without Ray; then what a laptop does while a cluster works."""

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
