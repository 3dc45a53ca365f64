"""Damaged files are read as before or refused with a clear message; nothing else happens."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aa_ray.core import backbones
from aa_ray.data import generated, glue
from aa_ray.data.glue import Source
from aa_ray.errors import CheckpointError, UsageError
from aa_ray.store import running
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Store
from aa_ray.store.storage import Folder
from aa_ray.training import checkpoints
from aa_ray.training.loop import State
from aa_ray.training.trainer import Best, Epoch, TrainerState
from aa_ray.trial import Trial
from tests.fuzz.mutations import Damage, damages
from tests.rows import row

FUZZ = settings.get_profile("fuzz")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Create a folder for one example."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@given(damages())
@settings(FUZZ)
def test_rows(damage: Damage) -> None:
    with folder() as place:
        store = Store(str(place))
        for n in range(3):
            store.write([row(f"{n:020x}", test_metric=0.5 + n / 10)])
        whole = {kept["trial_id"]: kept for kept in store.read().to_pylist()}
        path = place / "rows" / f"{1:020x}.parquet"
        path.write_bytes(damage(path.read_bytes()))
        found = {kept["trial_id"]: kept for kept in Store(str(place)).read().to_pylist()}
        assert set(found) >= {f"{0:020x}", f"{2:020x}"}  # the undamaged rows are present
        assert all(found[trial_id] == whole[trial_id] for trial_id in found)


@pytest.fixture(scope="module")
def checkpoint(make_trial: Callable[..., Trial]) -> tuple[bytes, Trial]:
    trial = make_trial()
    epoch = Epoch(1, 0.5, {3: {"accuracy": 0.5}}, {0: [0.1, 0.2]})
    trainer = TrainerState(
        history=[epoch], best={3: Best(epoch=1, score=0.5, weights={"w": torch.ones(3)})},
        weights={"w": torch.arange(6.0).view(2, 3)},
        optimizer={0: {"exp_avg": torch.zeros(2, 3)}}, generator=torch.zeros(8), error=None,
    )  # fmt: skip
    state = State([trainer], {"torch": torch.zeros(4)}, 1.5)
    return checkpoints.pack(state, [trial], {"hosts": ["a"]}), trial


@given(damages())
@settings(FUZZ)
def test_checkpoints(checkpoint: tuple[bytes, Trial], damage: Damage) -> None:
    content, trial = checkpoint
    damaged = damage(content)
    if damaged == content:
        state, extra = checkpoints.unpack(damaged, [trial])
        assert extra == {"hosts": ["a"]} and state.seconds == 1.5
    else:
        with pytest.raises(CheckpointError, match=r"\A[^\n]+\Z"):
            checkpoints.unpack(damaged, [trial])
    with folder() as place:
        (place / "checkpoints").mkdir()
        (place / "checkpoints" / f"{trial.id}.safetensors").write_bytes(damaged)
        kept = Folder(str(place))
        for shown in running.running_trials(kept):
            assert shown.trial.id == trial.id or damaged != content
        groups = checkpoints.interrupted_groups(kept, set())
        assert groups in ([], [[trial]])


@given(damages(), damages(), st.text(max_size=20))
@settings(FUZZ)
def test_leases_and_drivers(of_lease: Damage, of_driver: Damage, name: str) -> None:
    with folder() as place:
        kept = Folder(str(place))
        with Leases(kept) as holder:
            assert holder.acquire("t") and holder.acquire("u")
            lease = place / "leases" / "t.1"
            lease.write_bytes(of_lease(lease.read_bytes()))
            [driver] = (place / "drivers").iterdir()
            driver.write_bytes(of_driver(driver.read_bytes()))
            with contextlib.suppress(OSError, ValueError):
                (place / "leases" / name.replace("/", "_")).touch()
            with Leases(kept) as other:
                other.acquire("t")
                assert other.acquire("v")
                other.tidy(set())


@given(damages(), st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"]))
@settings(FUZZ)
def test_backbones(tiny_folder: Path, damage: Damage, name: str) -> None:
    with folder() as place:
        copy = place / "model"
        shutil.copytree(tiny_folder, copy)
        whole = backbones.find(str(copy))
        path = copy / name
        changed = damage(path.read_bytes())
        same = changed == path.read_bytes()
        path.write_bytes(changed)
        backbones.find.cache_clear()
        with contextlib.suppress(UsageError):
            assert same == (backbones.find(str(copy)).identity == whole.identity)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=3),
    max_leaves=5,
)  # fmt: skip
KEYS = ("num_hidden_layers", "hidden_size", "model_type", "is_decoder", "num_attention_heads",
        "vocab_size", "hidden_act", "architectures", "position_embedding_type")  # fmt: skip


@given(st.sampled_from(KEYS), JSON)
@settings(FUZZ)
def test_configurations(tiny_folder: Path, key: str, value: Any) -> None:
    with folder() as place:
        copy = place / "model"
        shutil.copytree(tiny_folder, copy)
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {key: value}))
        backbones.find.cache_clear()
        with contextlib.suppress(UsageError):
            backbones.find(str(copy))


@given(damages(), st.sampled_from(["train", "validation"]))
@settings(FUZZ)
def test_data(damage: Damage, split: str) -> None:
    with folder() as place:
        (place / "sst2").mkdir()
        for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
            pq.write_table(table.slice(0, 200), place / "sst2" / f"{name}.parquet")
        path = place / "sst2" / f"{split}.parquet"
        path.write_bytes(damage(path.read_bytes()))
        glue._load.cache_clear()
        source = Source(str(place))
        for work in (lambda: source.load("sst2"), lambda: source.train_rows("sst2")):
            with contextlib.suppress(UsageError):
                work()


def test_a_column_whose_name_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
        path = tmp_path / "sst2" / f"{name}.parquet"
        pq.write_table(table.slice(0, 200), path)
        path.write_bytes(path.read_bytes().replace(b"sentence", b"sent\xe5nce"))
    with pytest.raises(UsageError, match=r"is not a readable Parquet file .*; replace it"):
        Source(str(tmp_path)).load("sst2")


CELLS = st.none() | st.text(max_size=10) | st.integers(-3, 3) | st.floats()


@given(st.lists(CELLS, min_size=1, max_size=6), st.sampled_from(["sentence", "label"]))
@settings(FUZZ)
def test_values_of_data(values: list[Any], column: str) -> None:
    with folder() as place:
        (place / "sst2").mkdir()
        for name, table in zip(("train", "validation"), generated.generate("sst2"), strict=True):
            columns = table.slice(0, len(values)).to_pydict()
            columns[column] = values
            try:
                changed = pa.table(columns)
            except (pa.ArrowException, OverflowError):
                return  # no file can hold such a column
            pq.write_table(changed, place / "sst2" / f"{name}.parquet")
        glue._load.cache_clear()
        with contextlib.suppress(UsageError):
            loaded = Source(str(place)).load("sst2")
            assert set(loaded.train["label"].to_pylist()) <= {0, 1}
