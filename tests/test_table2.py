"""studies/table2.py and aa_ray.sweep through the real command line, on local Ray."""

import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray import cli, embedded, paper, results
from aa_ray.architectures import TABLE2

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
    assert re.search(r"AA-focused\^sim +– +\d+\.\d±\d+\.\d", first.stdout)
    assert first.stdout.startswith("Table 2.")
    assert f"rows: {folder}/kept/rows" in first.stderr
    assert re.search(r"\[\d:\d\d\] (\d+)/\1 trials done, 0 running, 0 waiting", first.stderr)
    assert "Traceback" not in first.stderr and len(first.stderr.splitlines()) < 30


def test_every_trial_has_its_learning_curve_in_tensorboard(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    runs = {path.name for path in (folder / "tracking" / "tensorboard").iterdir()}
    rows = results.read(str(folder / "kept")).to_pylist()
    assert {run[-8:] for run in runs} == {row["trial_id"][:8] for row in rows}
    assert all(list((folder / "tracking").rglob(f"{run}/events.out.tfevents.*")) for run in runs)


def test_rows_hold_every_architecture(
    first: subprocess.CompletedProcess[str], folder: Path
) -> None:
    rows = results.read(str(folder / "kept")).to_pylist()
    assert {row["status"] for row in rows} == {"finished"}
    # spec, uni and sim may resolve to the same trials; the others never do.
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
    """The same command in this process, for what runs no trial."""
    table = functools.partial(paper.method_table, "Table 2")
    return cli.main("Table 2.", TABLE2, table, arguments)


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
    done = len({row["trial_id"] for row in results.read(str(folder / "kept")).to_pylist()})
    assert f"done      {done}\n" in plan
    assert re.search(r"time left about \d+ s with \d+ trials at once", plan)
    assert "blocked   0" in plan  # every aa of the first seed has finished


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
        for name, table in zip(("train", "validation"), embedded.generate(task), strict=True):
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
    assert "not run, since a trial they wait for failed: 1" in ran.stderr
    assert "--retry-failed" in ran.stderr
    rows = results.read(str(tmp_path / "results")).to_pylist()
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
def test_after_ctrl_c_the_same_command_goes_on(tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ["--backbone", str(tiny_folder), "--tasks", "sst2", "qqp", "--epochs", "20"]
    rows = tmp_path / "results" / "rows"
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:  # fmt: skip
        while running.poll() is None and len(list(rows.glob("*.parquet"))) < 3:
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; finished trials are kept" in said and "Traceback" not in said
    kept = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.parquet")}
    assert len(kept) >= 3
    again = table2(*arguments, cwd=tmp_path)
    assert again.returncode == 0
    after = {path.name: path.stat().st_mtime_ns for path in rows.iterdir()}
    assert len(after) > len(kept)
    assert {name: after[name] for name in kept} == kept  # none was run again


HANG_ONCE = """
import os, sys, time

def hook(event, arguments):
    # The first checkpoint of all is never put in its place.
    if event == "os.rename" and "checkpoints/" in str(arguments[1]):
        try:
            os.close(os.open(os.environ["HUNG"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        time.sleep(1000)

sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANG_ONCE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "HUNG": str(tmp_path / "hung")}
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--backbone", str(tiny_folder), "--tasks", "sst2",
         "--seeds", "42", "--methods", "baseline", "--epochs", "3", "--stall-seconds", "25"],
        capture_output=True, text=True, cwd=tmp_path, timeout=200, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "hung").exists()
    assert "baseline sst2 100 seed 42: its worker process died; it is continued" in ran.stderr
    assert "1/1 trials done" in ran.stderr


@pytest.mark.slow
def test_sigterm_ends_like_ctrl_c(tiny_folder: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "--backbone", str(tiny_folder), "--epochs", "100"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        while running.poll() is None and not list(tmp_path.glob("results/checkpoints/*")):
            time.sleep(0.2)
        running.terminate()
        _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "stopped; finished trials are kept" in said and "Traceback" not in said
    assert not list(tmp_path.glob("results/leases/*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk (needs root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_sweep_and_loses_nothing(
    tiny_folder: Path, small_disk: Path, tmp_path: Path
) -> None:
    results_ = small_disk / "results"
    arguments = ["--backbone", str(tiny_folder), "--tasks", "sst2", "--seeds", "42",
                 "--epochs", "60", "--results", str(results_)]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as running:
        while running.poll() is None and not list(results_.glob("rows/*.parquet")):
            time.sleep(0.1)
        with contextlib.suppress(OSError), (small_disk / "other").open("wb", 0) as other:
            while True:
                other.write(bytes(1024))
        _, said = running.communicate(timeout=100)
    assert running.returncode == 1 and "Traceback" not in said
    assert "No space left on device); make room or give another --results" in said
    kept = {path.name for path in results_.glob("rows/*")}
    assert kept
    full = table2(*arguments, cwd=tmp_path)
    assert full.returncode == 2 and "MB are free, rows and checkpoints may need" in full.stderr
    (small_disk / "other").unlink()
    again = table2(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert kept < {path.name for path in results_.glob("rows/*")}


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
def test_two_drivers_share_a_study(tiny_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--backbone", str(tiny_folder), "--epochs", "30",
               "--seeds", "42", "--max-concurrent", "1"]  # fmt: skip
    drivers = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = [driver.communicate(timeout=300) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert said[0][0] == said[1][0]  # the same table
    done = [re.search(r"\] (\d+)/\1 trials done, 0 running", err) for _, err in said]
    assert all(done)
    rows = results.read(str(tmp_path / "results")).to_pylist()
    assert len({row["trial_id"] for row in rows}) == int(done[0][1]) if done[0] else False
    assert all("at another driver" in err for _, err in said)
    assert not list(tmp_path.glob("results/leases/*")) + list(tmp_path.glob("results/drivers/*"))


@pytest.mark.slow
def test_a_running_cluster_with_shared_gpus(tiny_folder: Path, tmp_path: Path) -> None:
    """Two trials share one (pretended) GPU of a cluster that was there before and stays."""
    loopback = os.environ | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
    }
    ray = str(Path(sys.executable).parent / "ray")
    head = [ray, "start", "--head", "--port=6399", "--num-cpus=4", "--num-gpus=1", "--block",
            "--include-dashboard=false"]  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="r") as short,  # socket paths have 107 bytes
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
