"""aa_ray.results: schema, whole files, and what is refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray import results
from aa_ray.errors import UsageError
from aa_ray.results import COLUMNS, SCHEMA, Store

WANTED = """trial_id method task regime seed backbone data_source data_fingerprint status error
    metric_name dev_metric test_metric test_metrics adapter_layers selected_layers num_layers
    trainable_parameters adapter_parameters epochs best_epoch curves switch_logits numerators
    denominators train_seconds test_seconds peak_memory_bytes started_at finished_at host device
    commit dirty versions settings""".split()


def row(trial_id: str, **values: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "status": "finished", **values}


def test_schema_has_every_column_documented() -> None:
    assert set(WANTED) <= set(SCHEMA.names)
    assert all(len(text) > 10 for _, _, text in COLUMNS)
    assert SCHEMA.field("seed").metadata[b"description"]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new" / "results"))
    assert len(store.read()) == 0 and store.read().schema == SCHEMA
    logits = [[[0.5, 0.5], None], [[0.25, 0.75], None]]
    store.write([row("a", switch_logits=logits, adapter_layers=[1], test_metrics={"f1": 0.5})])
    store.write([row("b", adapter_layers=[]), row("b", adapter_layers=[2])])
    table = results.read(str(tmp_path / "new" / "results"))
    assert table.schema == SCHEMA
    assert table["trial_id"].to_pylist() == ["a", "b", "b"]
    first = table.to_pylist()[0]
    assert first["switch_logits"] == logits
    assert first["test_metrics"]["f1"] == 0.5 and first["test_metrics"]["accuracy"] is None
    assert table["adapter_layers"].to_pylist() == [[1], [], [2]]


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", error="broken")])
    store.write([row("a", error=None)])
    assert store.read()["error"].to_pylist() == [None]


def test_a_write_that_breaks_off_leaves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", error="old")])

    def half(table: pa.Table, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"PAR1 half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        store.write([row("a", error="new")])
    assert store.read()["error"].to_pylist() == ["old"]


def test_rows_of_an_older_schema_are_read_and_of_a_newer_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", seed=42)])
    path = tmp_path / "rows" / "a.parquet"
    table = pq.read_table(path)
    older = table.drop_columns(["input_histograms"])
    pq.write_table(older.replace_schema_metadata({"aa_ray.schema_version": "1"}), path)
    [read] = store.read().to_pylist()
    assert read["seed"] == 42 and read["input_histograms"] is None
    pq.write_table(table.replace_schema_metadata({"aa_ray.schema_version": "99"}), path)
    with pytest.raises(UsageError, match=r"a.parquet was written by a newer aa_ray \(schema 99"):
        store.read()


def test_a_uri_of_another_file_system(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/there")
    store.write([row("a")])
    assert results.read(str(tmp_path / "there"))["trial_id"].to_pylist() == ["a"]


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--results gopher://x: cannot be used"):
        Store("gopher://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Store(str(tmp_path / "file"))
    store = Store(str(tmp_path / "ok"))
    (tmp_path / "ok" / "rows" / "foreign.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match=r"foreign.parquet does not hold rows of aa_ray"):
        store.read()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "ok" / "rows" / "foreign.parquet")
    with pytest.raises(UsageError, match=r"foreign.parquet does not hold rows of aa_ray"):
        store.read()
