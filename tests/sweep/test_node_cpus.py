"""aa_ray.sweep.node_cpus warns about a slow precision before a study; machines are stand-ins."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from aa_ray.sweep import node_cpus
from aa_ray.sweep.resources import Resources, Settled
from tests.study.test_grid import make_study

SLOW = "bf16 takes 7.0 times as long as fp32 on this CPU (AVX2); --precision fp32 is faster here"


def settled(**changes: Any) -> Settled:
    numbers = {"gpus_per_trial": 0.0, "fuse": 4, "fuse_by_task": {}, "memory_bytes": 0}
    return Settled(**(vars(Resources()) | numbers | changes))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return the calls to stand-ins for machines.

    Two are slow, one is fast, one never answers, and the head has no CPUs.
    """
    answers = {"a": SLOW, "b": SLOW, "c": None, "d": GetTimeoutError()}
    nodes = [
        {"Alive": True, "NodeID": name, "NodeManagerHostname": f"host-{name}",
         "Resources": {} if name == "head" else {"CPU": 4.0}}
        for name in ("head", *answers)
    ]  # fmt: skip
    calls: list[tuple[Any, ...]] = []

    def get(answer: str, timeout: float) -> Any:
        if isinstance(answers[answer], Exception):
            raise answers[answer]
        return answers[answer]

    def options(scheduling_strategy: Any) -> Any:
        def remote(*arguments: Any) -> str:
            calls.append(arguments)
            return str(scheduling_strategy)

        return SimpleNamespace(remote=remote)

    fake = SimpleNamespace(nodes=lambda: nodes, get=get, cancel=lambda *_, **__: None)
    monkeypatch.setattr(node_cpus, "ray", fake)
    monkeypatch.setattr(node_cpus, "NodeAffinitySchedulingStrategy", lambda node, soft: node)
    monkeypatch.setattr(node_cpus, "_slow_precision", SimpleNamespace(options=options))
    return calls


def test_machines_that_say_the_same_are_one_line(
    asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    study = replace(make_study(), precision="bf16")
    node_cpus.note_slow_precision(study, settled(cpus_per_trial=2))
    assert capsys.readouterr().err == f"note: {SLOW}\n"
    assert asked == [("bf16", study.backbone.hidden_size, 2)] * 4
    node_cpus.note_slow_precision(study, settled(address="10.0.0.1:6379"))
    assert capsys.readouterr().err == f"note: host-a: {SLOW}\n"


def test_nobody_is_asked_for_float32_or_on_gpus(asked: list[tuple[Any, ...]]) -> None:
    node_cpus.note_slow_precision(make_study(), settled())
    node_cpus.note_slow_precision(
        replace(make_study(), precision="bf16"), settled(gpus_per_trial=1.0)
    )
    assert not asked
