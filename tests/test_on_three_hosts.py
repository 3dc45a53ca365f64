"""A study on a cluster of three hosts, one of which dies, with cluster/on-premise.yaml unchanged.

Follows docs/cluster.md from ray up to ray down, on hosts made of namespaces. Requires root and
the Debian packages openssh-server, rsync and iproute2:
pytest -m cluster tests/test_on_three_hosts.py
"""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from aa_ray.store.rows import read
from benchmarks.torture.report import Report
from tests import namespaces
from tests.namespaces import HEAD, LAPTOP, WORKERS, Hosts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.skipif(bool(namespaces.missing()), reason=namespaces.missing() or "-"),
]

TOP = Path(__file__).parent.parent
CONFIG = "cluster/on-premise.yaml"


def on_laptop(hosts: Hosts, *command: str, seconds: float = 300) -> str:
    """Run a command in this checkout and return its standard output; it must succeed."""
    ran = subprocess.run(
        hosts[LAPTOP].command(*command, directory=str(TOP)),
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def on_head(hosts: Hosts, command: str, seconds: float = 300) -> str:
    return on_laptop(hosts, "ray", "exec", CONFIG, command, seconds=seconds)


def wait_for(what: Callable[[], object], seconds: float) -> float:
    """Wait until the condition holds and return the seconds it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - began


def works_on(folder: Path, host: str) -> bool:
    """Return whether a checkpoint of an unfinished trial comes from this host."""
    for path in folder.glob("checkpoints/*.safetensors"):
        try:
            with safe_open(path, framework="pt") as checkpoint:
                extra = json.loads(checkpoint.metadata()["extra"])
        except OSError:  # its trial has just finished
            continue
        if extra["hosts"] == [host]:
            return True
    return False


def rows(folder: Path) -> int:
    return len(list(folder.glob("rows/*.parquet")))


def dashboard_through_a_tunnel(hosts: Hosts) -> str:
    """Return the dashboard's answer about its version.

    The laptop reads it as docs/cluster.md describes.
    """
    ask = (
        "import pathlib, urllib.request as web;"
        "token = (pathlib.Path.home() / '.ray' / 'auth_token').read_text().strip();"
        "ask = web.Request('http://127.0.0.1:8265/api/version',"
        " headers={'Authorization': 'Bearer ' + token});"
        "print(web.urlopen(ask, timeout=5).read().decode())"
    )
    # The timeout runs on the laptop, so it also ends the ssh that the command starts.
    tunnel = ["timeout", "40", "ray", "dashboard", CONFIG]
    command = hosts[LAPTOP].command(*tunnel, directory=str(TOP))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as running:
        while running.poll() is None:
            inside = hosts[LAPTOP].command("python", "-c", ask)
            asked = subprocess.run(inside, capture_output=True, text=True, timeout=60)
            if asked.returncode == 0:
                return asked.stdout  # once the tunnel has ended
            time.sleep(1)
    raise AssertionError(asked.stderr)


def test_a_host_dies_and_the_table_is_that_of_one_machine(tiny_folder: Path) -> None:
    with Hosts() as hosts:
        study = ["--backbone", "/shared/tiny-bert", "--tasks", "qqp", "--epochs", "60", "--seeds",
                 "42", "92", "111"]  # fmt: skip
        shutil.copytree(tiny_folder, hosts.shared / "tiny-bert")
        alone, killed = hosts.shared / "undisturbed", hosts.shared / "killed"
        on_laptop(hosts, "pip", "install", "-e", ".[cluster,demo]")
        table2 = ["python", "studies/table2.py", *study, "--results"]
        expected = on_laptop(hosts, *table2, "/shared/undisturbed")

        on_laptop(hosts, "ray", "get-auth-token", "--generate")
        on_laptop(hosts, "env", "RAY_UP_enable_autoscaler_v2=0", "ray", "up", "-y", CONFIG)
        on_cluster = ["--results", "/shared/killed", "--address", "auto", "--max-concurrent", "4"]
        command = " ".join(["python", "aa-ray/studies/table2.py", *study, *on_cluster])
        on_head(hosts, f"ray job submit --no-wait --submission-id first -- {command}")

        # A host loses power while it runs a trial that started there.
        wait_for(lambda: works_on(killed, WORKERS[0]), 120)
        hosts[WORKERS[0]].kill()
        before = rows(killed)
        wait_for(lambda: rows(killed) > before, 120)

        # The user interrupts the study and starts the same command again.
        on_head(hosts, "ray job stop first")
        assert rows(killed) < rows(alone)
        on_head(hosts, f"ray job submit --no-wait --submission-id second -- {command}")
        assert "ray_version" in dashboard_through_a_tunnel(hosts)
        plan = on_laptop(hosts, *table2, "/shared/killed", "--plan", "--gpus", "8")
        assert "GPU-hours of work" in plan
        followed = on_head(hosts, "ray job logs --follow second")
        assert "trials done" in followed and "Ray dashboard: http://127.0.0.1:8265" in followed
        wait_for(lambda: "'second' succeeded" in on_head(hosts, "ray job status second"), 60)

        table = on_laptop(hosts, *table2, "/shared/killed", "--no-run")
        assert table == expected and "AA-focused" in table
        for figure in ("plot_layers", "plot_rationals", "plot_tables"):
            drawn = on_laptop(hosts, "python", f"studies/{figure}.py", *study, "--results",
                              "/shared/killed", "--output", "/shared/figures")  # fmt: skip
            assert "/shared/figures/" in drawn
        report = Report()
        report.compare(str(alone), str(killed))
        assert (report.lost, report.duplicates, report.differing) == (0, 0, 0)
        lists = read(str(killed))["hosts"].to_pylist()
        assert any(set(WORKERS) == set(of_trial) for of_trial in lists), lists
        assert HEAD not in {host for of_trial in lists for host in of_trial}

        on_laptop(hosts, "ray", "down", "-y", CONFIG)
        # Workers end by themselves after a minute without the head.
        for name in (HEAD, WORKERS[1]):
            left = hosts[name].processes
            with contextlib.suppress(AssertionError):
                wait_for(lambda left=left: left() == [], 120)  # type: ignore[misc]
            assert left() == []
