"""aa_ray.worker: rows as documented, and a failing trial that stays one row."""

import dataclasses
import json
from collections.abc import Callable

import pyarrow as pa
import pytest

from aa_ray import backbones, data
from aa_ray.backbones import Backbone
from aa_ray.data import Source
from aa_ray.results import SCHEMA
from aa_ray.trial import Trial
from aa_ray.worker import Worker


@pytest.fixture(scope="module")
def worker(tiny: Backbone) -> Worker:
    return Worker(tiny, Source("embedded"), ("abc", True))


def test_row_of_a_switched_trial(worker: Worker, make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(layers=(0, 2), activation="rational:one", switched=True, epochs=2)
    [row] = worker.run(trial, "aa")
    assert set(row) == set(SCHEMA.names) - {"error"}
    assert all(row[name] is not None for name in set(row) - {"input_histograms"})
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
    splits = data.split(Source("embedded").load("sst2"), "100", 42)
    assert row["data_fingerprint"] == data.fingerprint(splits)
    assert row["trainable_parameters"] == row["adapter_parameters"] + 2 * 32 + 2
    assert (row["commit"], row["dirty"]) == ("abc", True)
    assert json.loads(row["versions"])["adapters"] == "1.3.0"
    assert row["started_at"] <= row["finished_at"]


def test_adapter_drop_has_a_row_per_depth(worker: Worker, make_trial: Callable[..., Trial]) -> None:
    rows = worker.run(make_trial(inference_depths=(1, 2)), "adapter-drop")
    assert [row["adapter_layers"] for row in rows] == [[2], [1, 2]]
    assert len({row["trial_id"] for row in rows}) == 1
    assert all(row["numerators"] is None and row["switch_logits"] is None for row in rows)
    assert all(row["selected_layers"] is None for row in rows)


def test_the_same_trial_gives_the_same_row(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(activation="rational:one", epochs=2)
    [first] = worker.run(trial, "x")
    worker.run(make_trial(seed=1, switched=True), "y")
    [second] = worker.run(trial, "x")
    differing = {name for name in first if first[name] != second[name]}
    assert differing <= {"started_at", "finished_at", "train_seconds", "test_seconds",
                         "peak_memory_bytes"}  # fmt: skip


def test_a_failing_trial_is_a_row_and_the_next_one_runs(
    worker: Worker, make_trial: Callable[..., Trial]
) -> None:
    bad = make_trial(task="stsb", learning_rate=1e30, epochs=3)
    [row] = worker.run(bad, "baseline")
    assert row["status"] == "failed" and row["trial_id"] == bad.id
    assert row["error"].startswith("TrainingError: the training loss became")
    assert "\n" not in row["error"] and "training.py:" in row["error"]
    pa.Table.from_pylist([row], schema=SCHEMA)
    [good] = worker.run(make_trial(), "baseline")
    assert good["status"] == "finished"


def test_a_backbone_that_does_not_load_is_in_the_row(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    gone = dataclasses.replace(tiny, path="/no/such/folder")
    [row] = Worker(gone, Source("embedded"), (None, None)).run(make_trial(), "baseline")
    assert row["status"] == "failed" and "/no/such/folder" in row["error"]


def test_minilm_learns_generated_opinions(make_trial: Callable[..., Trial]) -> None:
    minilm = backbones.find("minilm")
    layers = tuple(range(minilm.num_layers))
    rate = minilm.own_rates.adapter
    trial = make_trial(layers=layers, backbone="minilm", epochs=10, learning_rate=rate)
    [row] = Worker(minilm, Source("embedded"), (None, None)).run(trial, "baseline")
    assert row["curves"][-1]["train_loss"] < 0.5 * row["curves"][0]["train_loss"]
    assert row["test_metric"] > 0.65
