"""Other encoders and other adapters on the command line: run, export and refusal."""

import json
import sys
from pathlib import Path

import pytest

from aa_ray import __main__ as program
from aa_ray.commands import study
from aa_ray.core.architectures import TABLE2
from aa_ray.report.tables import Table
from aa_ray.store.rows import read
from tests.encoders import encoder_folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aa_ray", *text.split()])
    return program.main()


@pytest.mark.parametrize(
    ("kind", "method", "settings"),
    [
        ("roberta", "aa", ""),
        ("roberta", "aa", "--set pooling=mean"),
        ("electra", "switch-only", "--engine adapterhub"),
        ("distilbert", "lora", ""),
        ("deberta-v2", "aa", ""),
        ("albert", "rational-only", ""),
        ("bert", "houlsby", ""),
        ("xlm-roberta", "prefix-tuning", ""),
    ],
)
def test_an_exported_adapter_predicts_what_the_trial_does(
    kind: str, method: str, settings: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    options = f"--backbone {encoder_folder(kind)} --task sst2 --method {method} --epochs 1"
    assert command(monkeypatch, f"export {options} {settings} --output out") == 0
    assert "loaded with AdapterHub, it predicts the same as the trial on" in capsys.readouterr().out
    assert json.loads(Path("out/trial.json").read_text())["method"] == method


@pytest.mark.parametrize(("kind", "reason"), [
    ("camembert", "AdapterHub's AutoAdapterModel does not know camembert, so an adapter"),
    ("modernbert", "AdapterHub's AutoAdapterModel does not know modernbert, so an adapter"),
    ("deberta", "AdapterHub's AutoAdapterModel gives deberta a random bias"),
])  # fmt: skip
def test_adapters_that_nobody_could_load_are_not_exported(
    kind: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = f"--backbone {encoder_folder(kind)} --task sst2 --method baseline"
    assert command(monkeypatch, f"export {options} --output out") == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--backbone DISTILBERT --method aa --engine fused", "does not have BERT's layers"),
        ("--backbone BERT --method lora --engine fused", "adaptable adapters only, not lora"),
        ("--backbone BERT --method aa --engine fast", "unknown engine 'fast' (allowed: auto,"),
        ("--backbone ALBERT --method aa", "no method can choose among its layers; use baseline"),
        ("--backbone GPT2 --method aa", "gpt2 is a decoder-only model; use an encoder of one of"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    options: str, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for kind in ("DISTILBERT", "ALBERT", "BERT"):
        options = options.replace(f" {kind} ", f" {encoder_folder(kind.lower())} ")
    Path("GPT2").mkdir()
    Path("GPT2/config.json").write_text('{"model_type": "gpt2"}')
    Path("GPT2/model.safetensors").touch()
    assert command(monkeypatch, f"run --task sst2 {options}") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(Path().glob("results/*"))


def test_a_trial_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = f"--backbone {encoder_folder('distilbert')} --task sst2 --epochs 1"
    assert command(monkeypatch, f"run {options} --method lora --engine adapterhub") == 0
    assert "in layers 0 1 2; lora" in capsys.readouterr().out
    [row] = read("results").to_pylist()
    assert row["engine"] == "adapterhub" and '"configuration": "lora"' in row["settings"]
    assert command(monkeypatch, f"run {options} --method lora") == 0
    assert "finished before" in capsys.readouterr().out  # whatever the engine


def test_other_adapters_are_in_a_study_only_if_asked_for(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def table(results: object) -> Table:
        asked.append(results.study.methods)  # type: ignore[attr-defined]
        return Table("", ["Avg"], [])

    options = ["--backbone", str(encoder_folder("bert")), "--no-run"]
    for methods in ([], ["--methods", "lora", "full-fine-tuning", "baseline"]):
        study.main("A study.", TABLE2, table, [*options, *methods])
    assert asked == [TABLE2, ("baseline", "lora", "full-fine-tuning")]
