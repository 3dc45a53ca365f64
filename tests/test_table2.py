"""studies/table2.py and aa_ray.sweep.tune through the real command line, on local Ray."""

import contextlib
import functools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray.commands import study
from aa_ray.core.architectures import TABLE2
from aa_ray.data import generated
from aa_ray.report import paper_tables
from aa_ray.store.rows import read

SCRIPT = Path(__file__).parent.parent / "studies" / "table2.py"


def table2(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def arguments(tiny_folder: Path, folder: Path) -> list[str]:
    return ["--backbone", str(tiny_folder), "--tasks", "sst2", "qqp", "--seeds", "42", "92",
            "--epochs", "2", "--results", "kept"]  # fmt: skip


@pytest.fixture(scope="module")
def first(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return table2(*arguments, "--track", "tensorboard", cwd=folder)


def test_the_whole_study_runs_and_prints_its_table(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert first.returncode == 0, first.stderr
    assert re.search(r"AA-focused\^sim +\d+\.\d±\d+\.\d", first.stdout)
    assert "MNLI" not in first.stdout  # it has no row
    assert first.stdout.startswith("Table 2.")
    assert f"results: {folder}/kept" in first.stderr
    assert re.search(r"\[\d:\d\d\] (\d+)/\1 trials done, 0 running, 0 waiting", first.stderr)
    assert "Traceback" not in first.stderr and len(first.stderr.splitlines()) < 30


def test_every_trial_has_its_learning_curve_in_tensorboard(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    runs = {path.name for path in (folder / "tracking" / "tensorboard").iterdir()}
    rows = read(str(folder / "kept")).to_pylist()
    assert {run[-8:] for run in runs} == {row["trial_id"][:8] for row in rows}
    assert all(list((folder / "tracking").rglob(f"{run}/events.out.tfevents.*")) for run in runs)


def test_rows_hold_every_architecture(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    rows = read(str(folder / "kept")).to_pylist()
    assert {row["status"] for row in rows} == {"finished"}
    # Only spec, uni and sim may resolve to the same trials.
    assert {"baseline", "adapter-drop", "aa"} <= {row["method"] for row in rows} <= set(TABLE2)
    trained = {(row["trial_id"], len(row["adapter_layers"])) for row in rows}
    assert len(trained) == len(rows)
    prints = {(row["task"], row["seed"], row["data_fingerprint"]) for row in rows}
    assert len(prints) == 4
    files = {path.stem for path in (folder / "kept" / "rows").iterdir()}
    assert files == {row["trial_id"] for row in rows}


def test_run_again_prints_the_same_table_without_ray(
    first: subprocess.CompletedProcess[str], arguments: list[str], folder: Path
) -> None:
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as e: print('ray' in sys.modules, e.code, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(SCRIPT), *arguments]
    again = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)
    assert again.stdout == first.stdout
    assert again.stderr.splitlines()[-1] == "False 0"


def table2_here(*arguments: str) -> int:
    """Run the command in this process, for calls that run no trial."""
    table = functools.partial(paper_tables.method_table, "Table 2")
    return study.main("Table 2.", TABLE2, table, arguments)


def test_plan_of_a_wider_study_counts_what_is_there(
    first: subprocess.CompletedProcess[str],
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert table2_here(*arguments, "--seeds", "42", "92", "111", "--plan") == 0
    plan = capsys.readouterr().out
    done = len({row["trial_id"] for row in read(str(folder / "kept")).to_pylist()})
    assert f"done      {done}\n" in plan
    assert re.search(r"time left about \d+ s with \d+ trials at once", plan)
    assert "blocked   0" in plan  # all aa trials of the first seed have finished


@pytest.mark.parametrize(
    ("style", "mark"),
    [("markdown", "| Baseline |"), ("latex", r"\toprule"), ("csv", "Low-data-100,Baseline,QQP,")],
)
def test_other_formats_from_the_rows(
    first: subprocess.CompletedProcess[str],
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    style: str,
    mark: str,
) -> None:
    monkeypatch.chdir(folder)
    assert table2_here(*arguments, "--no-run", "--format", style) == 0
    assert mark in capsys.readouterr().out


def test_a_failing_trial_stops_no_other(tiny_folder: Path, tmp_path: Path) -> None:
    for task in ("sst2", "stsb", "qqp"):
        (tmp_path / "data" / task).mkdir(parents=True)
        for name, table in zip(("train", "validation"), generated.generate(task), strict=True):
            if task == "stsb":  # labels that make the squared error infinite
                huge = pa.array([3e38] * len(table), type=pa.float32())
                table = table.set_column(2, "label", huge)
            pq.write_table(table, tmp_path / "data" / task / f"{name}.parquet")
    arguments = ["--backbone", str(tiny_folder), "--data", "data", "--tasks", "sst2", "stsb",
                 "--seeds", "42", "--epochs", "1",
                 "--methods", "baseline", "aa", "aa-focused-spec"]  # fmt: skip
    ran = table2(*arguments, cwd=tmp_path)
    assert ran.returncode == 1
    assert re.search(
        r"failed: aa stsb 100 seed 42: TrainingError: the training loss became", ran.stderr
    )
    assert "not run, since a trial they depend on failed: 1" in ran.stderr
    assert "--retry-failed" in ran.stderr
    rows = read(str(tmp_path / "results")).to_pylist()
    assert sorted((row["task"], row["status"]) for row in rows) == [
        ("sst2", "finished"), ("sst2", "finished"), ("sst2", "finished"),
        ("stsb", "failed"), ("stsb", "failed"),
    ]  # fmt: skip
    started = time.monotonic()
    again = table2(*arguments, cwd=tmp_path)
    assert again.returncode == 1 and "failed: aa stsb" in again.stderr
    assert "trials done" not in again.stderr, (
        f"it ran Ray again, {time.monotonic() - started:.0f} s"
    )


@pytest.mark.slow
def test_an_address_without_a_cluster(tiny_folder: Path, tmp_path: Path) -> None:
    ran = table2("--backbone", str(tiny_folder), "--address", "127.0.0.1:1", cwd=tmp_path)
    assert ran.returncode == 2
    assert "--address 127.0.0.1:1: no Ray cluster answers" in ran.stderr.splitlines()[-1]


@pytest.mark.slow
def test_wandb_offline_and_the_dashboard(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    study = "--tasks sst2 --seeds 42 --epochs 1 --methods baseline --track wandb --dashboard"
    ran = table2("--backbone", str(tiny_folder), *study.split(), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    [files] = (tmp_path / "tracking" / "wandb").rglob("run-*.wandb")
    assert b"dev_metric" in files.read_bytes() and b"test_metric" in files.read_bytes()
    assert re.search(r"^Ray dashboard: http://127\.0\.0\.1:\d+$", ran.stderr, re.M)


@pytest.mark.slow
def test_a_running_cluster_with_shared_gpus(tiny_folder: Path, tmp_path: Path) -> None:
    """Two trials share one (pretended) GPU of a cluster that already runs and keeps running."""
    loopback = os.environ | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
    }
    ray = str(Path(sys.executable).parent / "ray")
    head = [ray, "start", "--head", "--port=6399", "--num-cpus=4", "--num-gpus=1", "--block",
            "--include-dashboard=false"]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="r") as short,  # socket paths have at most 107 bytes
        subprocess.Popen(
            [*head, f"--temp-dir={short}"], env=loopback, stdout=subprocess.DEVNULL
        ) as cluster,
    ):
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", 6399), timeout=1).close()
                    break
                time.sleep(0.5)
            ran = subprocess.run(
                [sys.executable, str(SCRIPT), "--backbone", str(tiny_folder), "--tasks", "sst2",
                 "--seeds", "42", "92", "--methods", "baseline", "--epochs", "1",
                 "--gpus-per-trial", "0.5", "--address", "127.0.0.1:6399"],
                capture_output=True, text=True, cwd=tmp_path, timeout=200, env=loopback,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
            assert "2/2 trials done" in ran.stderr and cluster.poll() is None
        finally:
            cluster.terminate()
            cluster.wait(60)


@pytest.mark.slow
def test_more_gpus_than_there_are(tiny_folder: Path, tmp_path: Path) -> None:
    ran = table2("--backbone", str(tiny_folder), "--gpus-per-trial", "64", cwd=tmp_path)
    assert ran.returncode == 2
    assert "lower --cpus-per-trial or --gpus-per-trial" in ran.stderr
