"""aa_ray.sweep.tracking: what TensorBoard and MLflow record, read in their own formats.

Weights & Biases needs Ray and separate processes: tests/test_table2.py runs it, offline.
"""

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aa_ray.store.rows import Store
from aa_ray.store.schema import Row
from aa_ray.sweep.messages import Report
from aa_ray.sweep.tracking import Tracking
from tests import rows
from tests.study.test_grid import make_study

CURVES = [
    {"epoch": 1, "train_loss": 0.7, "dev_metric": 0.5},
    {"epoch": 2, "train_loss": 0.6, "dev_metric": 0.75},
]


def row(trial_id: str = "0123456789abcdef0123", **values: Any) -> Row:
    common = {
        "method": "aa", "task": "sst2", "regime": "100",
        "seed": 42, "status": "finished", "epochs": 2, "curves": CURVES, "test_metric": 0.625,
        "adapter_layers": [0, 1], "settings": json.dumps({"epochs": 2, "layers": [0, 1]}),
    }  # fmt: skip
    return rows.row(trial_id, **common | values)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    return Store(str(tmp_path / "results"))


def tell(name: str, store: Store, of_trial: list[Row]) -> None:
    """Report a finished Tune trial to a tracker, as Tune does."""
    store.write(of_trial)
    tracking = Tracking(name, make_study(), store)
    tracking.setup()

    result = Report([{"trial_id": of_trial[0]["trial_id"]}]).to_result()
    tracking.on_trial_complete(0, [], SimpleNamespace(last_result=result))
    tracking.on_experiment_end([])


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Return (tag, step) -> value, from TensorBoard's event files.

    A record consists of length, checksum, event and checksum.
    """
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.rglob("events.out.tfevents.*"):
        content = path.read_bytes()
        while content:
            [length] = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[value.tag, event.step] = round(value.simple_value, 4)
            content = content[16 + length :]
    return found


def test_tensorboard_gets_the_curve_and_the_score(store: Store) -> None:
    tell("tensorboard", store, [row()])
    folder = Path("tracking/tensorboard/sst2-100-aa-seed-42-01234567")
    assert scalars(folder) == {
        ("ray/tune/train_loss", 1): 0.7, ("ray/tune/dev_metric", 1): 0.5,
        ("ray/tune/train_loss", 2): 0.6, ("ray/tune/dev_metric", 2): 0.75,
        ("ray/tune/test_metric", 2): 0.625,
    }  # fmt: skip


def test_every_depth_of_adapter_drop_has_its_score(store: Store) -> None:
    depths = [row(adapter_layers=[1], test_metric=0.5), row(test_metric=0.75)]
    tell("tensorboard", store, depths)
    found = scalars(Path("tracking"))
    assert found["ray/tune/test_metric_1_adapters", 2] == 0.5
    assert found["ray/tune/test_metric_2_adapters", 2] == 0.75


@pytest.mark.filterwarnings("ignore")  # from mlflow, when it creates its database
def test_mlflow_gets_settings_curve_and_score(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/tracking/mlflow.db"
    tell("mlflow", store, [row()])
    failed = row(trial_id="b" * 20, status="failed", curves=None, test_metric=None)
    tell("mlflow", store, [failed])
    client = MlflowClient(uri)
    [experiment] = [e for e in client.search_experiments() if e.name == "aa-ray"]
    bad, good = client.search_runs([experiment.experiment_id])
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert good.info.run_name == "sst2 100 aa seed 42"
    assert good.data.params == {"method": "aa", "epochs": "2", "layers": "[0, 1]"}
    assert good.data.metrics["test_metric"] == 0.625 and "test_metric" not in bad.data.metrics
    history = client.get_metric_history(good.info.run_id, "dev_metric")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]
