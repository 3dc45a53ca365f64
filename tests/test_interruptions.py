"""studies/table2.py is interrupted, hangs, runs out of space, or runs beside a copy of itself."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aa_ray.store.rows import read
from tests.test_table2 import SCRIPT, table2


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
    assert {name: after[name] for name in kept} == kept  # no trial ran again


HANG_ONCE = """
import os, sys, time

def hook(event, arguments):
    # The first checkpoint of all is never put in its place.
    if event == "os.rename" and "checkpoints/" in str(arguments[1]):
        try:
            os.close(os.open(os.environ["HUNG"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        HANG

sys.addaudithook(hook)
"""


@pytest.mark.slow
@pytest.mark.parametrize("hang", ["time.sleep(1000)", "os.kill(os.getpid(), 19)"])
def test_a_worker_that_hangs_or_is_stopped_is_replaced(
    tiny_folder: Path, tmp_path: Path, hang: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HANG_ONCE.replace("HANG", hang))
    path = os.pathsep.join([str(tmp_path), *sys.path[1:]])
    environment = os.environ | {"PYTHONPATH": path, "HUNG": str(tmp_path / "hung")}
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--backbone", str(tiny_folder), "--tasks", "sst2",
         "--seeds", "42", "--methods", "baseline", "--epochs", "3", "--stall-seconds", "25"],
        capture_output=True, text=True, cwd=tmp_path, timeout=400, env=environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "hung").exists()
    assert "baseline sst2 100 seed 42: the worker process died; continuing" in ran.stderr
    assert "1/1 trials done" in ran.stderr
    assert ("its worker process is silent (suspended?)" in ran.stderr) == ("kill" in hang)


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
    """Mount a file system of a few megabytes, which only root may do."""
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
    assert "No space left on device); free some space or use another --results" in said
    kept = {path.name for path in results_.glob("rows/*")}
    assert kept
    full = table2(*arguments, cwd=tmp_path)
    assert full.returncode == 2 and "MB are free, rows and checkpoints may need" in full.stderr
    (small_disk / "other").unlink()
    again = table2(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert kept < {path.name for path in results_.glob("rows/*")}


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
    rows = read(str(tmp_path / "results")).to_pylist()
    assert len({row["trial_id"] for row in rows}) == int(done[0][1]) if done[0] else False
    # Progress wraps at 80 columns.
    assert all("in another driver" in " ".join(err.split()) for _, err in said)
    assert not list(tmp_path.glob("results/leases/*")) + list(tmp_path.glob("results/drivers/*"))
