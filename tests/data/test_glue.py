"""aa_ray.data: the released split rule, fingerprints, and refused data."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.data import glue
from aa_ray.data.glue import Official, Source, fingerprint, split
from aa_ray.data.rows import Rows
from aa_ray.errors import UsageError


def official(rows: int) -> Official:
    train = pa.table(
        {"sentence": [f"s{i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]}
    )
    return Official(train, train.slice(0, 1))


@given(st.integers(100, 400), st.integers(0, 2**32 - 1))
def test_split_follows_the_released_rule(rows: int, seed: int) -> None:
    splits = split(official(rows), "100", seed)
    order = np.random.default_rng(seed).permutation(rows)
    assert splits.train.taken()["sentence"].to_pylist() == [f"s{i}" for i in order[:75]]
    assert splits.development.taken()["sentence"].to_pylist() == [f"s{i}" for i in order[75:100]]


def test_full_uses_every_row_once() -> None:
    splits = split(official(401), "full", 42)
    both = (
        splits.train.taken()["sentence"].to_pylist()
        + splits.development.taken()["sentence"].to_pylist()
    )
    assert len(splits.train) == 300 and sorted(both) == sorted(f"s{i}" for i in range(401))


def test_a_regime_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="needs 500 annotated examples, the training data has 499"):
        split(official(499), "500", 42)
    with pytest.raises(UsageError, match="unknown regime 'half'"):
        split(official(499), "half", 42)


def test_fingerprint_depends_on_examples_labels_order_and_split() -> None:
    base = split(official(200), "100", 42)
    assert fingerprint(base) == fingerprint(split(official(200), "100", 42))
    train = base.train.taken()
    flipped = train.set_column(1, "label", pa.array([1 - v for v in base.train.labels()]))
    variants = [
        split(official(200), "100", 43),
        base._replace(train=Rows(flipped)),
        base._replace(train=Rows(train, np.arange(74, -1, -1))),
        base._replace(train=base.development, development=base.train),
    ]
    assert len({fingerprint(v) for v in [base, *variants]}) == 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a data folder with a valid sst2."""
    write(tmp_path, "train", {"sentence": ["good"] * 200, "label": [0, 1] * 100})
    write(tmp_path, "validation", {"sentence": ["bad"], "label": [0]})
    return tmp_path


def write(folder: Path, split_name: str, columns: dict[str, Any]) -> None:
    (folder / "sst2").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "sst2" / f"{split_name}.parquet")


def test_a_folder_is_read_and_named_by_its_content(folder: Path, tmp_path_factory: Any) -> None:
    source = Source(str(folder))
    assert len(source.load("sst2").train) == 200
    copy = tmp_path_factory.mktemp("copy")
    (copy / "sst2").mkdir()
    for name in ("train", "validation"):
        (copy / "sst2" / f"{name}.parquet").write_bytes(
            (folder / "sst2" / f"{name}.parquet").read_bytes()
        )
    assert Source(str(copy)).identity("sst2") == source.identity("sst2")
    write(copy, "validation", {"sentence": ["bad"], "label": [1]})
    assert Source(str(copy)).identity("sst2") != source.identity("sst2")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"], "label": [0]}, "column sentence is missing; found text, label"),
        ({"sentence": ["a"]}, "column label is missing"),
        ({"sentence": [], "label": []}, "no rows"),
        ({"sentence": [1], "label": [0]}, "column sentence is int64, expected text"),
        ({"sentence": ["a", None], "label": [0, 1]}, "null"),
        ({"sentence": ["a"], "label": [0.5]}, "label is double, expected an integer"),
        ({"sentence": ["a"], "label": ["good"]}, "label is string, expected an integer"),
        ({"sentence": ["a", "b"], "label": [0, -1]}, "labels from -1 to 0, expected 0 to 1"),
        ({"sentence": ["a", "b"], "label": [0, 2]}, "labels from 0 to 2, expected 0 to 1"),
    ],
)
def test_bad_files_are_refused(folder: Path, columns: dict[str, Any], message: str) -> None:
    write(folder, "validation", columns)
    with pytest.raises(UsageError, match=message) as caught:
        Source(str(folder)).load("sst2")
    assert "sst2" in str(caught.value) and "validation" in str(caught.value)


def test_regression_labels_must_be_finite_floats(tmp_path: Path) -> None:
    (tmp_path / "stsb").mkdir()
    for labels, message in (([1, 2], "expected a float"), ([1.0, float("nan")], "NaN")):
        table = pa.table({"sentence1": ["a", "b"], "sentence2": ["a", "b"], "label": labels})
        for name in ("train", "validation"):
            pq.write_table(table, tmp_path / "stsb" / f"{name}.parquet")
        glue._load.cache_clear()
        with pytest.raises(UsageError, match=message):
            Source(str(tmp_path)).load("stsb")


def test_missing_folder_file_and_broken_file(folder: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        Source(str(folder / "nowhere")).load("sst2")
    with pytest.raises(UsageError, match=r"task cola: .*train.parquet does not exist"):
        Source(str(folder)).load("cola")
    (folder / "sst2" / "train.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match="not a readable Parquet file"):
        Source(str(folder)).load("sst2")


def test_the_hub_is_asked_for_a_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(glue.hub, "silence", lambda: "")
    asked: dict[str, str] = {}

    def load_dataset(path: str, name: str, revision: str) -> dict[str, datasets.Dataset]:
        asked.update(path=path, name=name, revision=revision)
        columns = {"premise": ["a"] * 100, "hypothesis": ["b"] * 100, "label": [0] * 100}
        return {s: datasets.Dataset.from_dict(columns) for s in ("train", "validation_matched")}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = Source("hub")
    loaded = source.load("mnli")
    assert asked == {"path": "nyu-mll/glue", "name": "mnli", "revision": glue.HUB_REVISION}
    assert loaded.test.column_names == ["premise", "hypothesis", "label"]
    assert source.identity("mnli") == "nyu-mll/glue@bcdcba79d07b"
    glue._load.cache_clear()


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(glue.hub, "silence", lambda: "")

    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UsageError, match="could not be loaded from the hub"):
        Source("hub").load("rte")
