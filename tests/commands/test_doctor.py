"""aa-ray doctor: its findings on this machine and on a cluster, and the faults it detects."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aa_ray.commands import doctor as command
from aa_ray.core import rational_torch
from aa_ray.core.backbones import MINILM
from aa_ray.errors import FAILED_WORK
from aa_ray.training import doctor, places, selfcheck
from aa_ray.training.doctor import BROKEN, OK, SLOW, Check, Finding

CPU = torch.device("cpu")


def run(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "aa_ray", "doctor", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=600)


NAMES = {"results", "inputs", "software", "device", "rational", "attention", "side by side",
         "encoders", "precisions", "products", "speed"}  # fmt: skip


def test_this_machine(tmp_path: Path) -> None:
    """Each finding has a line; none may be broken on a machine that passes the other tests."""
    ran = run(cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert {line[8:20].strip() for line in lines} - {"other GPUs"} == NAMES
    assert {line.split()[0] for line in lines} <= {OK, SLOW}
    assert any("10 architectures train" in line for line in lines)
    speed = next(line for line in lines if "trial steps per second" in line)
    assert all(f" with {count}" in speed for count in (1, 2, 4, 8)) and speed.endswith("is best")
    assert list((tmp_path / "results").rglob("*.parquet")) == []


@pytest.fixture
def only_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "checks", lambda: iter(()))


@pytest.mark.usefixtures("only_places")
def test_what_is_broken_decides_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    settings = (None, str(tmp_path / "file" / "results"), MINILM, "embedded")
    assert command.report(*settings, as_json=False) == FAILED_WORK
    said = capsys.readouterr().out
    assert said.startswith("broken  results") and "use another --results" in said
    assert said.endswith("\n1 broken: results\n")
    assert command.report(*settings, as_json=True) == FAILED_WORK
    checks = [Check(**fields) for fields in json.loads(capsys.readouterr().out)]
    assert [(check.name, check.state) for check in checks] == [("results", BROKEN), ("inputs", OK)]
    assert command.report(None, str(tmp_path / "results"), MINILM, "embedded", True) == 0


def test_inputs_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.hub, "silence", lambda: "does not answer (no network)")
    found = places.inputs("some/encoder", str(tmp_path))
    assert found.state == BROKEN and "cluster/hub_cache.py fill" in found.advice
    assert "some/encoder: nowhere" in found.text and "no task" in found.text
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "train.parquet").write_bytes(b"")
    found = places.inputs(MINILM, str(tmp_path))
    assert found.state == OK and f"data {tmp_path}: rte" in found.text
    monkeypatch.setattr(places.hub, "silence", lambda: "")
    assert places.inputs("some/encoder", "hub").state == OK


@pytest.mark.parametrize(
    ("seconds", "doubt", "state"),
    [(0.5, 0.1, OK), (5.0, 4.0, OK), (-5.0, 0.1, SLOW), (13 * 3600.0, 0.1, BROKEN)],
)
def test_clocks(seconds: float, doubt: float, state: str) -> None:
    assert places.differing_clock(seconds, doubt).state == state


def test_wrong_numbers_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comparison fails if the values differ or are not numbers."""
    for worst in (0.5, math.nan):
        for name, check in (
            ("rational_difference", doctor._rational),
            ("side_by_side_difference", doctor._side_by_side),
            ("architecture_difference", doctor._encoders),
            ("precision_difference", doctor._precisions),
        ):
            with monkeypatch.context() as wrong:
                wrong.setattr(selfcheck, name, lambda *_, worst=worst: worst)
                wrong.setattr(doctor, "_speed_of", lambda *_: 1.0)
                finding = check(CPU)
                assert finding.state == BROKEN and finding.advice, name


def test_a_check_that_raises_is_broken() -> None:
    def fail() -> Finding:
        raise RuntimeError("CUDA error: no\nkernel image")

    check = doctor.tried("attention", fail)
    assert (check.name, check.state) == ("attention", BROKEN)
    assert check.text == "RuntimeError: CUDA error: no kernel image"


def test_a_precision_that_is_slower_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"fp32": 7.0, "bf16": 1.0}
    monkeypatch.setattr(doctor, "_speed_of", lambda _, precision, __: speeds[precision])
    finding = doctor._precisions(CPU)
    assert finding.state == SLOW and "bf16: 0.14 times as fast as fp32" in finding.text
    assert finding.advice == "do not use --precision bf16 here"


def test_triton_that_does_not_work_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's operations replace Triton; the finding gives the reason and what to install."""
    monkeypatch.setattr(doctor, "triton_fault", lambda: "RuntimeError: Failed to find C compiler")
    monkeypatch.setattr(selfcheck, "rational_difference", lambda _: 0.0)
    finding = doctor._rational(torch.device("cuda"))
    assert finding.state == SLOW and "Failed to find C compiler" in finding.text
    assert "apt-get install gcc" in finding.advice


def test_comparisons_notice_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison detects a kernel that is wrong in the fourth digit, not only NaN."""
    original = rational_torch.forward
    monkeypatch.setattr(
        rational_torch, "forward", lambda *arguments: original(*arguments) * (1 + 5e-4)
    )
    assert selfcheck.rational_difference(CPU) > 1e-4


class Cluster:
    """A head without CPUs, and one node on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self.nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes.add_node(num_cpus=1)
        self.address = self.nodes.address


@pytest.fixture
def cluster() -> Iterator[Any]:
    made = Cluster()
    yield made
    made.nodes.shutdown()


def test_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    ran = run(
        "--address", cluster.address, "--results", str(tmp_path / "r"), "--json", cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    checks = [Check(**fields) for fields in json.loads(ran.stdout)]
    names = [check.name for check in checks]
    assert {check.state for check in checks} <= {OK, SLOW}
    assert NAMES - set(names) == set()
    assert (names.count("clock"), names.count("encoders")) == (2, 1)  # the head trains nothing
    assert names.count("results") == 3  # the calling machine and both nodes
    assert [path for path in (tmp_path / "r").rglob("*") if path.is_file()] == []
