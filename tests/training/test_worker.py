"""aa_ray.training.worker: rows match their documentation; a failing trial costs only its row."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from aa_ray.core import backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data import cache, generated, glue, tokenised
from aa_ray.data.glue import Source
from aa_ray.errors import ChangedInputError, StorageError
from aa_ray.store.schema import (
    SCHEMA,
    EvaluationColumns,
    HistogramColumns,
    InputColumns,
    TrainingColumns,
)
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints, loop
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

RESULTS = [
    *TrainingColumns.__annotations__,
    *EvaluationColumns.__annotations__,
    *HistogramColumns.__annotations__,
    *InputColumns.__annotations__,
]


@pytest.fixture(scope="module")
def worker(tiny: Backbone) -> Worker:
    return Worker(tiny, Source("embedded"), ("abc", True))


def test_row_of_a_switched_trial(worker: Worker, make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(layers=(0, 2), activation="rational:one", switched=True, epochs=2)
    [[row]] = worker.run([trial], ["aa"])
    nulls = {name for name, value in row.items() if value is None}
    of_gpus = set() if worker.device.type == "cuda" else {"device_memory_bytes"}
    assert list(row) == SCHEMA.names
    assert nulls == {"error", "array", "inference_depth", "too_many_trials"} | of_gpus
    [row] = pa.Table.from_pylist([row], schema=SCHEMA).to_pylist()
    assert (row["trial_id"], row["method"], row["status"]) == (trial.id, "aa", "finished")
    assert Trial.from_json(row["settings"]) == trial
    assert (
        row["metric_name"] == "accuracy" and row["test_metrics"]["accuracy"] == row["test_metric"]
    )
    assert len(row["curves"]) == row["epochs"] == 2
    assert row["curves"][row["best_epoch"] - 1]["dev_metric"] == row["dev_metric"]
    assert len(row["switch_logits"]) == 3 and len(row["switch_logits"][0]) == row["num_layers"] == 3
    assert row["switch_logits"][0][1] is None and row["switch_logits"][0][0] == [0.5, 0.5]
    assert row["numerators"][0][2] == [1, 0, 0, 0, 0, 0] and len(row["denominators"][0][2]) == 4
    seen = row["input_histograms"]
    assert [i for i in range(3) if seen[i]] == row["selected_layers"]
    assert row["adapter_layers"] == [0, 2] and set(row["selected_layers"]) <= {0, 2}
    splits = glue.split(Source("embedded").load("sst2"), "100", 42)
    assert row["data_fingerprint"] == glue.fingerprint(splits)
    assert row["trainable_parameters"] == row["adapter_parameters"] + 2 * 32 + 2
    assert (row["commit"], row["dirty"]) == ("abc", True)
    assert json.loads(row["versions"])["adapters"] == "1.3.0"
    assert row["started_at"] <= row["finished_at"]


def test_a_row_says_what_chance_is_and_whether_answers_differ(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    [[row]] = worker.run([make_trial(learning_rate=1e-2, epochs=6)], ["baseline"])
    splits = glue.split(Source("embedded").load("sst2"), "100", 42)
    test, development = (part.labels() for part in (splits.test, splits.development))
    for labels, score, error in (
        (test, row["chance"], row["chance_error"]),
        (development, row["dev_chance"], row["dev_chance_error"]),
    ):
        share = float(np.mean(labels))
        assert score == pytest.approx(max(share, 1 - share))
        assert error == pytest.approx((share * (1 - share) / len(labels)) ** 0.5)
    assert row["answers"] == 2


def test_bf16_is_another_trial_on_the_same_weights(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    trials = [make_trial(epochs=1, precision=precision) for precision in ("fp32", "bf16")]
    full, half = (worker.run([trial], ["x"])[0][0] for trial in trials)
    assert half["status"] == "finished" and half["trial_id"] != full["trial_id"]
    assert half["backbone_sha256"] == full["backbone_sha256"]
    assert half["curves"][0]["train_loss"] == pytest.approx(full["curves"][0]["train_loss"], 0.05)
    assert half["curves"] != full["curves"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "tf32"}, "precision tf32 needs an NVIDIA GPU"),
        (
            {"precision": "bf16", "layers": (), "empty_selection": "full"},
            "the backbone cannot be trained in bf16; use fp32 or tf32",
        ),
    ],
)
def test_precisions_that_cannot_be_had(
    worker: Worker, make_trial: Callable[..., Trial], settings: dict[str, Any], message: str
) -> None:
    if worker.device.type == "cuda" and settings["precision"] == "tf32":
        pytest.skip("this machine has a GPU")
    [[row]] = worker.run([make_trial(**settings)], ["x"])
    assert row["status"] == "failed" and message in (row["error"] or "")


def test_adapter_drop_has_a_row_per_depth(worker: Worker, make_trial: Callable[..., Trial]) -> None:
    [rows] = worker.run([make_trial(inference_depths=(1, 2))], ["adapter-drop"])
    assert [row["adapter_layers"] for row in rows] == [[2], [1, 2]]
    assert [row["inference_depth"] for row in rows] == [1, 2]
    assert len({row["trial_id"] for row in rows}) == 1
    assert all(row["numerators"] is None and row["switch_logits"] is None for row in rows)
    assert all(row["selected_layers"] is None for row in rows)


def test_the_same_trial_gives_the_same_row(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", epochs=2)
    [[first]] = worker.run([trial], ["x"])
    worker.run([make_trial(seed=1, switched=True)], ["y"])
    [[second]] = worker.run([trial], ["x"])
    differing = {name for name, value in first.items() if value != dict(second)[name]}
    assert differing <= {"started_at", "finished_at", "train_seconds", "test_seconds",
                         "peak_memory_bytes"}  # fmt: skip


def test_examples_in_files_change_no_number(
    worker: Worker,
    tiny: Backbone,
    make_trial: Callable[..., Trial],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = [make_trial(regime="500", epochs=2, seed=seed, switched=True) for seed in (1, 2)]
    in_memory = worker.run(trials, ["x", "x"])
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(tokenised, "LEAST_ROWS", 100)
    fresh = Worker(tiny, Source("embedded"), ("abc", True))
    for _ in range(2):  # the second run finds the files of the first
        in_files = fresh.run(trials, ["x", "x"])
        for [one], [other] in zip(in_memory, in_files, strict=True):
            differing = {name for name, value in one.items() if value != dict(other)[name]}
            assert differing <= {"started_at", "finished_at", "train_seconds", "test_seconds",
                                 "peak_memory_bytes"}  # fmt: skip
    assert len(list(tmp_path.glob("sst2-*.arrow"))) == 2  # training data and test set


def test_a_failing_trial_is_a_row_and_the_next_one_runs(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    bad = make_trial(task="stsb", learning_rate=1e30, epochs=3)
    [[row]] = worker.run([bad], ["baseline"])
    assert row["status"] == "failed" and row["trial_id"] == bad.id
    error = row["error"] or ""
    assert error.startswith("TrainingError: the training loss became") and "\n" not in error
    [read] = pa.Table.from_pylist([row], schema=SCHEMA).to_pylist()
    assert read == row and read["host"] and read["num_layers"] == 3
    assert {read[name] for name in RESULTS} == {None}
    [[good]] = worker.run([make_trial()], ["baseline"])
    assert good["status"] == "finished"


def test_a_backbone_that_does_not_load_is_in_the_row(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    gone = dataclasses.replace(tiny, path="/no/such/folder")
    [[row]] = Worker(gone, Source("embedded"), (None, None)).run([make_trial()], ["baseline"])
    assert row["status"] == "failed" and "/no/such/folder" in (row["error"] or "")


def test_minilm_learns_generated_opinions(make_trial: Callable[..., Trial]) -> None:
    minilm = backbones.find("minilm")
    layers = tuple(range(minilm.num_layers))
    trial = make_trial(
        layers=layers, backbone="minilm", epochs=10, learning_rate=3e-3, pooling=minilm.pooling
    )
    [[row]] = Worker(minilm, Source("embedded"), (None, None)).run([trial], ["baseline"])
    assert row["curves"][-1]["train_loss"] < 0.5 * row["curves"][0]["train_loss"]
    assert row["test_metric"] > 0.65


def test_out_of_memory_says_what_to_lower(
    worker: Worker, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, advice in (
        (torch.OutOfMemoryError("CUDA out of memory."), "raise --gpus-per-trial"),
        (MemoryError(), "lower --max-concurrent"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "lower --max-concurrent"),
    ):

        def starved(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(loop, "run", starved)
        [[row]] = worker.run([make_trial()], ["baseline"])
        assert row["status"] == "failed" and advice in (row["error"] or "")
    monkeypatch.undo()
    assert worker.run([make_trial()], ["baseline"])[0][0]["status"] == "finished"


HANGS = """
import sys, time
from aa_ray.training import loop
from aa_ray.training import watchdog
from aa_ray.core.backbones import find
from aa_ray.data.glue import Source
from aa_ray.store.storage import Folder
from aa_ray.store.storage import Folder
from aa_ray.errors import ChangedInputError, StorageError
from aa_ray.trial import Trial
from aa_ray.training.worker import Worker

evaluate, calls = loop.evaluate, []

def hang(*arguments):
    calls.append(1)
    if len(calls) == 3:
        time.sleep(60)
    return evaluate(*arguments)

loop.evaluate = hang
backbone, folder, trial = sys.argv[1:]
worker = Worker(find(backbone), Source("embedded"), (None, None), Folder(folder))
watchdog.arm(4)
worker.run([Trial.from_json(trial)], ["aa"])
"""


def test_a_trial_that_hangs_is_ended_and_continued(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = make_trial(activation="rational:one", switched=True, epochs=4)
    command = [sys.executable, "-c", HANGS, tiny.path, str(tmp_path), trial.to_json()]
    hung = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert hung.returncode == 1 and "Timeout" in hung.stderr and "in hang" in hung.stderr
    worker = Worker(tiny, Source("embedded"), (None, None), Folder(str(tmp_path)))
    [[row]] = worker.run([trial], ["aa"])
    assert row["resumed_after"] in ([1], [2]) and len(row["hosts"]) == 2
    [[undisturbed]] = Worker(tiny, Source("embedded"), (None, None)).run([trial], ["aa"])
    for name in ("curves", "test_metrics", "switch_logits", "numerators", "input_histograms"):
        assert dict(row)[name] == dict(undisturbed)[name]
    assert undisturbed["resumed_after"] == []


def test_a_checkpoint_that_does_not_load_means_starting_anew(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    trial = make_trial()
    folder = Folder(str(tmp_path))
    folder.write(checkpoints.path([trial]), b"noise")
    worker = Worker(tiny, Source("embedded"), (None, None), folder)
    [[row]] = worker.run([trial], ["baseline"])
    assert row["status"] == "finished" and row["resumed_after"] == []
    [remark] = worker.remarks
    assert remark.startswith("sst2 100 seed 42: its checkpoint cannot be loaded (")
    assert remark.endswith("it starts from the beginning")


def test_a_checkpoint_that_does_not_fit_means_starting_anew(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    """The checkpoint is whole, but this torch does not know its generator's state."""
    trial = make_trial(epochs=2)
    folder = Folder(str(tmp_path))
    keep = Checkpoint(folder, [trial])
    keep.extra = {"hosts": ["elsewhere"], "resumed_after": []}
    interrupted = Worker(tiny, Source("embedded"), (None, None), folder)
    [[undisturbed]] = interrupted.run([trial], ["baseline"])
    state, _ = checkpoints.unpack(folder.read(checkpoints.path([trial])), [trial])
    state.random["cpu"] = torch.zeros_like(state.random["cpu"])
    keep.save(state)
    worker = Worker(tiny, Source("embedded"), (None, None), folder)
    [[row]] = worker.run([trial], ["baseline"])
    [remark] = worker.remarks
    assert "its checkpoint cannot be loaded (it does not fit (RuntimeError" in remark
    assert row["status"] == "finished" and row["resumed_after"] == []
    assert row["hosts"] == undisturbed["hosts"] and row["curves"] == undisturbed["curves"]


def test_nothing_is_trained_on_other_data_than_planned(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    source = Source(str(tmp_path))
    (tmp_path / "sst2").mkdir()
    for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
        pq.write_table(table, tmp_path / "sst2" / f"{name}.parquet")
    trial = make_trial(data=source.identity("sst2"))
    path = tmp_path / "sst2" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(ChangedInputError, match=r"task sst2: .* is not the data that the study"):
        Worker(tiny, source, (None, None)).run([trial], ["baseline"])
    pq.write_table(table, path)
    glue._load.cache_clear()
    [[row]] = Worker(tiny, source, (None, None)).run([trial], ["baseline"])
    assert row["status"] == "finished"


def test_nothing_is_trained_on_another_backbone_than_planned(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    other = dataclasses.replace(tiny, identity="tiny@000000000000")
    with pytest.raises(ChangedInputError, match="is not the one that the study was planned with"):
        Worker(other, Source("embedded"), (None, None)).run([make_trial()], ["baseline"])


def test_a_full_disk_is_not_the_trials_fault(
    tiny: Backbone,
    make_trial: Callable[..., Trial],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Folder(str(tmp_path))

    def full(*_: object) -> None:
        raise StorageError("cannot write to there (No space left on device)")

    monkeypatch.setattr(folder, "write", full)
    worker = Worker(tiny, Source("embedded"), (None, None), folder)
    with pytest.raises(StorageError):
        worker.run([make_trial()], ["baseline"])


def test_empty_and_very_long_sentences(
    tiny: Backbone, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    (tmp_path / "sst2").mkdir()
    for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
        texts = ["", "a good film " * 9000, "\n\t \x00", *table["sentence"].to_pylist()[3:]]
        table = table.set_column(0, "sentence", pa.array(texts))
        pq.write_table(table, tmp_path / "sst2" / f"{name}.parquet")
    source = Source(str(tmp_path))
    trial = make_trial(max_length=64, data=source.identity("sst2"))
    [[row]] = Worker(tiny, source, (None, None)).run([trial], ["baseline"])
    assert row["status"] == "finished", row["error"]
