"""Wrong usage, case by case: one line names the mistake, exit status 2, no traceback."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray.data import generated, glue
from aa_ray.store.rows import SCHEMA

STUDIES = Path(__file__).parent.parent / "studies"

Make = Callable[[Path, Path], list[str]]


class Case(NamedTuple):
    """A command line of a study and the message that it must produce."""

    arguments: Make
    message: str
    study: str = "table2"


def plain(*arguments: str) -> Make:
    return lambda folder, tiny: list(arguments)


def edit(
    change: Callable[[dict[str, Any]], object] | None = None, task: str = "sst2", rows: int = 400
) -> Make:
    """Make a data folder with one task and apply a change to its training columns."""

    def make(folder: Path, tiny: Path) -> list[str]:
        (folder / "glue" / task).mkdir(parents=True)
        for name, table in zip(("train", "validation"), generated.generate(task), strict=True):
            columns = table.slice(0, rows).to_pydict()
            if name == "train" and change is not None:
                change(columns)
            pq.write_table(pa.table(columns), folder / "glue" / task / f"{name}.parquet")
        return ["--backbone", str(tiny), "--data", str(folder / "glue"), "--tasks", task,
                "--methods", "baseline"]  # fmt: skip

    return make


def then(make: Make, change: Callable[[Path], object], *more: str) -> Make:
    """Call ``make``, then change the folder that it filled."""

    def both(folder: Path, tiny: Path) -> list[str]:
        arguments = make(folder, tiny)
        change(folder)
        return [*arguments, *more]

    return both


def put(column: str, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return a change of one column.

    A list replaces the column; any other value goes into its first row.
    """

    def change(columns: dict[str, Any]) -> None:
        rows = columns[column]
        columns[column] = value if isinstance(value, list) else [value, *rows[1:]]

    return change


def latin1(columns: dict[str, Any]) -> None:
    texts = [text.encode() for text in columns["sentence"]]
    columns["sentence"] = pa.array([b"caf\xe9", *texts[1:]]).view(pa.string())


def backbone(change: Callable[[Path], object]) -> Make:
    """Copy the tiny checkpoint and change the copy."""

    def make(folder: Path, tiny: Path) -> list[str]:
        copy = folder / "bert"
        shutil.copytree(tiny, copy)
        change(copy)
        return ["--backbone", str(copy), "--methods", "baseline"]

    return make


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def set_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def newer(folder: Path) -> None:
    (folder / "results" / "rows").mkdir(parents=True)
    table = SCHEMA.empty_table().replace_schema_metadata({"aa_ray.schema_version": "99"})
    pq.write_table(table, folder / "results" / "rows" / "a.parquet")


def nothing(folder: Path) -> None:
    """Change nothing."""


def remove_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def no_encoder(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")


TINY: Make = lambda folder, tiny: ["--backbone", str(tiny)]  # noqa: E731
FILE: Callable[[Path], object] = lambda folder: (folder / "file").write_text("")  # noqa: E731

CASES = {
    # names
    "preset": Case(plain("--preset", "huge"), "unknown preset 'huge' (allowed: demo, low-data"),
    "task": Case(plain("--tasks", "sst2", "colla"), "unknown task 'colla' (allowed: mnli, qqp"),
    "task in capitals": Case(plain("--tasks", "SST2"), "unknown task 'SST2' (allowed: mnli"),
    "no task": Case(plain("--tasks"), "argument --tasks: expected at least one argument"),
    "regime": Case(plain("--regimes", "half"), "unknown regime 'half'"),
    "method": Case(plain("--methods", "laura"), "unknown method 'laura' (allowed: baseline"),
    "method of another study": Case(
        plain("--methods", "switch-only"), "unknown method 'switch-only' (allowed: baseline"
    ),
    "format": Case(plain("--format", "html"), "unknown format 'html' (allowed: text, markdown"),
    "option": Case(plain("--bananas"), "unrecognized arguments: --bananas"),
    "argument": Case(plain("rte"), "unrecognized arguments: rte"),
    "setting": Case(plain("--set", "tempo=1"), "unknown setting 'tempo' (allowed: switch_skip"),
    "setting without value": Case(plain("--set", "denominator"), "expected NAME=VALUE"),
    "value of a setting": Case(
        plain("--set", "denominator=C"), "unknown value of denominator 'C' (allowed: A, B)"
    ),
    "setting where settings vary": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--set", "denominator=B"],
        "--set: this study varies the settings itself",
        "fidelity",
    ),
    # numbers
    "rates by name": Case(plain("--rates", "fast"), "unknown rates 'fast' (allowed: backbone"),
    "negative rate": Case(plain("--rates", "-0.1"), "--rates -0.1: expected a number above 0"),
    "zero rate": Case(plain("--rates", "0"), "--rates 0: expected a number above 0"),
    "infinite rate": Case(plain("--rates", "inf"), "--rates inf: expected a number above 0"),
    "rate that is none": Case(plain("--rates", "nan"), "--rates nan: expected a number above 0"),
    "negative seed": Case(plain("--seeds", "-1"), "--seeds -1: expected integers from 0"),
    "seed with a letter": Case(plain("--seeds", "4x"), "--seeds 4x: expected integers from 0"),
    "seed with a point": Case(plain("--seeds", "42.0"), "--seeds 42.0: expected integers"),
    "seed in other digits": Case(plain("--seeds", "४२"), "--seeds ४२: expected integers"),
    "large seed": Case(plain("--seeds", "4294967296"), "expected integers from 0 to 4294967295"),
    "seeds with a comma": Case(plain("--seeds", "42,92"), "--seeds 42,92: expected integers"),
    "zero epochs": Case(plain("--epochs", "0"), "--epochs 0: expected a whole number, 1 or more"),
    "precision": Case(plain("--precision", "fp8"), "unknown precision 'fp8'"),
    "tf32 on a CPU": Case(plain("--precision", "tf32"), "--precision tf32 needs GPUs"),
    "GPUs without a plan": Case(plain("--gpus", "8"), "--gpus is only for --plan"),
    "no GPUs": Case(plain("--plan", "--gpus", "0"), "--gpus 0: expected a whole number, 1 or more"),
    "half an epoch": Case(plain("--epochs", "1.5"), "--epochs 1.5: expected a whole number"),
    "no CPU": Case(plain("--cpus-per-trial", "0"), "--cpus-per-trial 0: expected a whole number"),
    "negative GPUs": Case(plain("--gpus-per-trial", "-0.5"), "expected a number, 0 or more"),
    "GPUs that are none": Case(plain("--gpus-per-trial", "nan"), "expected a number, 0 or more"),
    "no trial at once": Case(plain("--max-concurrent", "0"), "--max-concurrent 0: expected"),
    "trials in words": Case(plain("--max-concurrent", "all"), "--max-concurrent all: expected"),
    "no patience": Case(plain("--stall-seconds", "0"), "--stall-seconds 0: expected a number, 1"),
    # machine
    "GPU share without GPU": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--gpus-per-trial", "0.5"],
        "a trial needs 1 CPUs and 0.5 GPUs, but there are",
    ),
    "more CPUs than there are": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--cpus-per-trial", "9999"],
        "a trial needs 9999 CPUs",
    ),
    "address without cluster": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--address", "127.0.0.1:1"],
        "--address 127.0.0.1:1: no Ray cluster answers",
    ),
    "address without port": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--address", "here"],
        "--address here: expected host:port, ray://host:port or auto",
    ),
    # backbone
    "no such backbone": Case(plain("--backbone", "no/such"), "--backbone no/such: neither minilm"),
    "backbone not on the hub": Case(
        plain("--backbone", "bert-huge"), "nor a model on the hub"
    ),
    "empty backbone folder": Case(
        backbone(lambda folder: (folder / "model.safetensors").unlink()), "has no model.safetensors"
    ),
    "half the weights": Case(
        backbone(lambda folder: cut(folder / "model.safetensors", 5000)),
        "model.safetensors is not a complete safetensors file",
    ),
    "weights of something else": Case(backbone(no_encoder), "holds no BERT encoder"),
    "no tokenizer": Case(backbone(remove_tokenizer), "the folder has no tokenizer"),
    "not a BERT": Case(
        backbone(lambda folder: set_config(folder, model_type="gpt2")),
        "gpt2 is a decoder-only model; use an encoder of one of these types",
    ),
    "broken config": Case(
        backbone(lambda folder: cut(folder / "config.json", 50)), "neither minilm, nor a checkpoint"
    ),
    "no config": Case(
        backbone(lambda folder: (folder / "config.json").unlink()), "has no config.json"
    ),
    # data
    "no such folder": Case(plain("--data", "/no/such/folder"), "/no/such/folder: no such folder"),
    "data is a file": Case(then(TINY, FILE, "--data", "file"), "/file: no such folder"),
    "folder without the task": Case(
        then(edit(), nothing, "--tasks", "cola"), "train.parquet does not exist; add it, or leave"
    ),
    "folder without test data": Case(
        then(edit(), lambda folder: (folder / "glue/sst2/validation.parquet").unlink()),
        "validation.parquet does not exist",
    ),
    "layers decided by a task that is not there": Case(
        then(edit(), nothing, "--methods", "aa-focused-uni"), "task qqp:"
    ),
    "missing column": Case(
        edit(lambda columns: columns.pop("sentence")), "column sentence is missing; found label"
    ),
    "labels as text": Case(edit(put("label", ["good"] * 400)), "label is string, expected an int"),
    "labels as floats": Case(edit(put("label", [0.5] * 400)), "label is double, expected an int"),
    "unlabelled rows": Case(edit(put("label", -1)), "labels from -1 to 1, expected 0 to 1"),
    "null labels": Case(edit(put("label", None)), "empty (null) values; remove those rows"),
    "NaN labels": Case(edit(put("label", float("nan")), "stsb"), "labels contain NaN or infinity"),
    "infinite labels": Case(edit(put("label", float("inf")), "stsb"), "labels contain NaN or inf"),
    "whole numbers as scores": Case(edit(put("label", [1] * 400), "stsb"), "expected a float"),
    "null text": Case(edit(put("sentence", None)), "empty (null) values; remove those rows"),
    "numbers as text": Case(edit(put("sentence", [1] * 400)), "column sentence is int64, expected"),
    "text in Latin-1": Case(edit(latin1), "not valid UTF-8 text"),
    "no rows": Case(edit(rows=0), "no rows"),
    "fewer rows than the regime": Case(
        edit(rows=60), "regime 100 needs 100 annotated examples, the training data has 60"
    ),
    "empty file": Case(
        then(edit(), lambda folder: cut(folder / "glue/sst2/train.parquet", 0)),
        "train.parquet is not a readable Parquet file",
    ),
    "half a file": Case(
        then(edit(), lambda folder: cut(folder / "glue/sst2/train.parquet", 3000)),
        "train.parquet is not a readable Parquet file",
    ),
    "data hub out of reach": Case(
        then(TINY, nothing, "--data", "hub", "--tasks", "rte"),
        "could not be loaded from the hub",
    ),
    # results
    "results of an unknown scheme": Case(plain("--results", "gopher://x"), "gopher://x: cannot be"),
    "results in a file": Case(
        then(TINY, FILE, "--results", "file"), "file: cannot be used (it is a file)"
    ),
    "results below a file": Case(
        then(TINY, FILE, "--results", "file/below"), "file is a file"
    ),
    "results where nothing may be written": Case(
        lambda folder, tiny: ["--backbone", str(tiny), "--results", "/proc/results"],
        "--results /proc/results: cannot be used (the kernel keeps that folder)",
    ),
    "results without name": Case(then(TINY, nothing, "--results", ""), "--results: empty"),
    "results of a newer version": Case(
        then(TINY, newer), "a.parquet was written by a newer aa_ray (schema 99, this one knows"
    ),
    "figures without rows": Case(TINY, "no rows of this study; run it first", "plot_layers"),
    "no margin": Case(plain("--margin", "0"), "--margin 0: expected a number of points", "claims"),
    "margin below zero": Case(plain("--margin", "-1"), "--margin -1: expected a number of points",
                              "plot_effects"),
    "margin in words": Case(plain("--margin", "two"), "--margin two: expected a number of points",
                            "policies"),
    "unknown contrast": Case(plain("--only", "width"), "unknown contrast 'width'", "contrasts"),
    "no level": Case(plain("--alpha", "1"), "--alpha 1: expected a number between 0 and 1",
                     "contrasts"),
    "plan that runs nothing": Case(
        plain("--plan", "--no-run"), "--plan and --no-run exclude each other"
    ),
    "two values of a setting": Case(
        plain("--set", "denominator=A", "denominator=B"), "give it one value"
    ),
    "results of nobody": Case(plain("--results", "~nobody-here/x"), "not a path (no such user)"),
    "results of no bucket": Case(plain("--results", "s3://"), "it names no bucket or host"),
    "one slash": Case(plain("--results", "s3:/bucket"), "two slashes after its scheme"),
    "results of a device": Case(plain("--results", "/dev/null"), "it is not a folder"),
    "endless epochs": Case(plain("--epochs", "9" * 400), "a whole number, at most 100,000"),
    "bytes that are no text": Case(plain("--results", "\udcff"), "expected text in UTF-8"),
    "backbone without name": Case(plain("--backbone", ""), "--backbone: empty"),
    "endless margin": Case(plain("--margin", "inf"), "--margin inf: expected a number", "report"),
    "tuning figure without rows": Case(TINY, "no rows of this study; run it first", "plot_tuning"),
    "status without rows": Case(TINY, "no rows of this study; run it first", "plot_status"),
    "claims without rows": Case(TINY, "no rows of this study; run it first", "claims"),
    "times without selections": Case(TINY, "no rows of this study; run it first", "efficiency"),
}  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_status_2(
    name: str,
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CASES[name]
    arguments = case.arguments(tmp_path, tiny_folder)
    monkeypatch.chdir(tmp_path)
    glue._load.cache_clear()
    script = str(STUDIES / f"{case.study}.py")
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert case.message in said.err
    assert said.err.count("\n") == 1 and said.err.startswith(f"{case.study}.py: ")
    assert list(tmp_path.glob("results/rows/*")) == list(tmp_path.glob("results/rows/a.parquet"))
