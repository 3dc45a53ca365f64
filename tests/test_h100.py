"""benchmarks/h100.py: its arithmetic, and a full measurement on a CPU."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from transformers import BertConfig

from benchmarks import gpu_measurement, on_gpu, study_cost
from benchmarks.gpu_measurement import Measured, Measurement
from benchmarks.on_gpu import Step
from benchmarks.pages import Page

SMALL = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)


def test_the_runs_of_the_tables_are_those_of_the_paper() -> None:
    """There are five seeds at 100, 300 and 500 examples, and one on full data.

    An epoch has 3, 8 and 12 steps at the three small sizes.
    """
    low, full = study_cost.low_data(), study_cost.full_data()
    assert sum(of.runs for of in low) == 11 * 9 * 3 * 5
    assert {of.steps for of in low} == {20 * 3, 20 * 8, 20 * 12}
    assert sum(of.runs for of in full) == 6 * 9
    [mnli] = [of for of in full if (of.method, of.task) == ("aa", "mnli")]
    assert mnli.steps == 20 * 9204
    by_task = {of.task: of.evaluated for of in low if (of.method, of.regime) == ("aa", "100")}
    assert by_task["rte"] == pytest.approx(20 * 25 * 66.6 + 277 * 64.6)


def test_measured_speed_is_a_line_through_two_lengths() -> None:
    steps = [
        Step("aa", "bf16", 8, 40, 80.0, 0), Step("aa", "bf16", 8, 128, 168.0, 0),
        Step("baseline", "bf16", 8, 40, 40.0, 0), Step("baseline", "bf16", 8, 128, 84.0, 0),
    ]  # fmt: skip
    speed = Measured(steps, evaluation=1e-6)
    assert speed.step("aa", 40) == pytest.approx(0.010)
    assert speed.step("aa-focused-sim", 84) == pytest.approx(0.0155)
    assert speed.step("baseline-last-n", 84) == pytest.approx(0.00775)
    assert speed.evaluation("aa", 1000) == pytest.approx(1e-3)


@pytest.fixture
def without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Skip what only a GPU can do and run the rest on the CPU."""
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 10**9)
    monkeypatch.setattr(gpu_measurement, "EVALUATED", 8)
    monkeypatch.setattr(gpu_measurement, "ARRAYS", (2, 1))
    monkeypatch.setattr(gpu_measurement, "MEANS", (4, 9))
    monkeypatch.setattr(gpu_measurement, "OTHERS", ("tf32",))
    monkeypatch.setattr(on_gpu.step, "__defaults__", (1e-3,))
    monkeypatch.setattr(on_gpu, "steps_of", lambda *_: 1)
    rational = on_gpu.rational_milliseconds
    slow = {"triton": "torch"}  # Triton's interpreter would be slow

    def on_cpu(tokens: int, groups: int, name: str, *_: str) -> float:
        return rational(8, groups, slow.get(name, name), "cpu")

    monkeypatch.setattr(on_gpu, "rational_milliseconds", on_cpu)
    with mock.patch.object(torch.profiler, "ProfilerActivity", mock.Mock(CUDA=None)):
        yield


@pytest.mark.usefixtures("without_a_gpu")
def test_the_list_is_gone_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "profile", lambda array: on_gpu.Profile(10, 2, 1.0, 0))
    page = Page(tmp_path / "h100.md", "Measured")
    Measurement(page, 600, SMALL, "cpu").run()
    text = (tmp_path / "h100.md").read_text()
    assert "Failed" not in text and "Not measured" not in text, text
    assert "| tf32 | 2 | " in text
    rows = [line for line in text.splitlines() if line.startswith("| aa | bf16 |")]
    assert len(rows) == 2 * 2 + 1  # sizes and lengths, and the repeated run
    assert "| aa | bf16 | 4 | 0 |" in rows  # bit-identical
    assert "| bf16 | 2 | " in text  # hours


@pytest.mark.usefixtures("without_a_gpu")
def test_what_fails_or_does_not_fit_is_noted_and_the_rest_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(tmp_path / "h100.md", "Measured")
    measurement = Measurement(page, 600, SMALL, "cpu")
    measurement._begin()
    monkeypatch.setattr(on_gpu, "step", mock.Mock(side_effect=torch.OutOfMemoryError("much")))
    measurement._array("bf16", 16, 128, "aa")
    assert measurement._attempted(mock.Mock(side_effect=RuntimeError("broken")))
    assert not measurement._attempted(mock.Mock(side_effect=gpu_measurement.OutOfTime))
    text = (tmp_path / "h100.md").read_text()
    assert "| aa | bf16 | 16 | 128 | does not fit |" in text
    assert "RuntimeError: broken" in text and "Time ran out" in text
