"""aa_ray.training.api runs a trial from Python and finds backbone and data by identity."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray.core import backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data import generated
from aa_ray.data.glue import HUB_DATASET, Source
from aa_ray.errors import SweepError, TrainingError, UsageError
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.study.trials import make_trial
from aa_ray.training import api
from aa_ray.training.api import train
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

# Columns that differ between two runs of one trial.
OF_THE_RUN = {"started_at", "finished_at", "train_seconds", "test_seconds", "peak_memory_bytes"}


@pytest.fixture
def trial(tiny: Backbone) -> Trial:
    return make_trial("aa", "sst2", backbone=tiny.path, epochs=1)


def test_rows_are_those_of_a_worker(trial: Trial, tiny: Backbone) -> None:
    [row] = train(trial, backbone=tiny.path, method="aa")
    [[expected]] = Worker(tiny, Source("embedded"), (None, None)).run([trial], ["aa"])
    columns = expected.keys() - OF_THE_RUN - {"commit", "dirty"}
    values = [{name: dict(r)[name] for name in columns} for r in (row, expected)]
    assert values[0] == values[1]
    assert row["trial_id"] == trial.id and row["data_source"] == trial.data


def test_adapter_drop_has_a_row_per_depth(tiny: Backbone) -> None:
    trial = make_trial(
        "adapter-drop", "sst2", backbone=tiny.path, epochs=1, selected=[(0, 1), (2,)]
    )
    rows = train(trial, backbone=tiny)
    assert [row["adapter_layers"] for row in rows] == [[2], [1, 2]]


def test_rows_in_a_folder_are_not_trained_again(
    trial: Trial, tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = train(trial, backbone=tiny, results=str(tmp_path))
    assert not list(tmp_path.glob("leases/*")) + list(tmp_path.glob("checkpoints/*"))
    monkeypatch.setattr(api, "Worker", None)
    [again] = train(trial, backbone=tiny, results=str(tmp_path))
    assert again["finished_at"] == first["finished_at"]


def test_a_failed_trial_raises_and_is_tried_again(tiny: Backbone, tmp_path: Path) -> None:
    diverging = dataclasses.replace(
        make_trial("baseline", "stsb", backbone=tiny.path, epochs=1), learning_rate=1e30
    )
    for _ in range(2):
        with pytest.raises(TrainingError, match="loss"):
            train(diverging, backbone=tiny, results=str(tmp_path))
    assert Store(str(tmp_path)).rows(diverging.id)[0]["status"] == "failed"


def test_a_trial_of_another_process_is_left_to_it(
    trial: Trial, tiny: Backbone, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    with Leases(store.folder) as leases:
        assert leases.acquire(trial.id)
        with pytest.raises(SweepError, match="is being run by another process"):
            train(trial, backbone=tiny, results=str(tmp_path))


def test_data_in_a_folder_has_to_be_given(tiny: Backbone, tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
        pq.write_table(table, tmp_path / "sst2" / f"{name}.parquet")
    trial = make_trial("baseline", "sst2", backbone=tiny.path, data=str(tmp_path), epochs=1)
    with pytest.raises(UsageError, match=r"pass the folder with sst2/train\.parquet as data="):
        train(trial, backbone=tiny)
    [row] = train(trial, backbone=tiny, data=tmp_path)
    assert row["data_source"] == trial.data


@pytest.mark.parametrize("make_source", [str, Path, Source.named])
def test_other_data_than_the_trials_is_refused(
    make_source: Callable[[str], Any], trial: Trial, tiny: Backbone, tmp_path: Path
) -> None:
    (tmp_path / "sst2").mkdir()
    for name in ("train", "validation"):
        pq.write_table(pa.table({"sentence": ["a"], "label": [0]}),
                       tmp_path / "sst2" / f"{name}.parquet")  # fmt: skip
    with pytest.raises(UsageError, match=r"is files-\w+, but the trial's is embedded-1"):
        train(trial, backbone=tiny, data=make_source(str(tmp_path)))


def test_another_backbone_than_the_trials_is_refused(trial: Trial, tiny: Backbone) -> None:
    with pytest.raises(
        UsageError, match=r"backbone minilm is minilm, but the trial's is tiny-bert"
    ):
        train(trial, backbone="minilm")
    with pytest.raises(UsageError, match=r"pass the path of that folder as backbone="):
        train(trial)
    other = dataclasses.replace(tiny, identity="other@123")
    with pytest.raises(UsageError, match="but the trial's is"):
        train(trial, backbone=other)


def test_backbone_and_data_are_found_by_their_identities(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(name: str) -> Backbone:
        asked.append(name)
        return Backbone(name, name, 6, 384)

    monkeypatch.setattr(backbones, "find", find)
    for name in ("minilm", "bert-large-uncased"):
        assert api._backbone(dataclasses.replace(trial, backbone=name), None).identity == name
    assert asked == ["minilm", "bert-large-uncased"]
    hub = dataclasses.replace(trial, data=Source("hub").identity("sst2"))
    assert hub.data.startswith(HUB_DATASET) and api._source(hub, None) == Source("hub")
    assert api._source(trial, None) == Source("embedded")
    older = dataclasses.replace(trial, data="embedded-0")
    with pytest.raises(UsageError, match="embedded-1, but the trial's is embedded-0"):
        api._source(older, None)
