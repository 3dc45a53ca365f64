"""aa_ray.store.rows: files are whole, finished rows stay, and bad input is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray.errors import StorageError, UsageError
from aa_ray.store import posix
from aa_ray.store.rows import Store, read
from aa_ray.store.schema import SCHEMA
from tests.rows import row


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new" / "results"))
    assert len(store.read()) == 0 and store.read().schema == SCHEMA
    logits = [[[0.5, 0.5], None], [[0.25, 0.75], None]]
    store.write([row("a", switch_logits=logits, adapter_layers=[1], test_metrics={"f1": 0.5})])
    store.write([row("b", adapter_layers=[]), row("b", adapter_layers=[2])])
    table = read(str(tmp_path / "new" / "results"))
    assert table.schema == SCHEMA
    assert table["trial_id"].to_pylist() == ["a", "b", "b"]
    first = table.to_pylist()[0]
    assert first["switch_logits"] == logits
    assert first["test_metrics"]["f1"] == 0.5 and first["test_metrics"]["accuracy"] is None
    assert table["adapter_layers"].to_pylist() == [[1], [], [2]]


def test_rows_of_a_failure_are_replaced(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", status="failed", error="broken")])
    again = [row("a", status="failed", error="broken again")]
    assert store.write(again) == again
    finished = [row("a", seed=1)]
    assert store.write(finished) == finished
    assert store.rows("a") == finished


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("status", ["finished", "failed"])
def test_finished_rows_are_never_replaced(tmp_path: Path, compacted: bool, status: str) -> None:
    store = Store(str(tmp_path))
    first = [row("a", seed=1), row("a", seed=2)]
    store.write(first)
    if compacted:
        store.compact()
    second = [row("a", seed=3, status=status)]
    for other in (store, Store(str(tmp_path))):
        assert other.write(second) == first
        assert other.rows("a") == first
    assert len(store.read()) == 2


def before(store: Store, method: str, call: int, act: Callable[[], object]) -> None:
    """Let another process act just before the n-th call of the folder's method."""
    real = getattr(store.folder, method)
    calls: list[str] = []

    def acting(path: str, *rest: Any) -> Any:
        calls.append(path)
        if len(calls) == call:
            act()
        return real(path, *rest)

    setattr(store.folder, method, acting)


def test_of_two_who_finish_at_once_the_first_counts(tmp_path: Path) -> None:
    first, second = ([row("a", seed=seed)] for seed in (1, 2))
    store, other = Store(str(tmp_path)), Store(str(tmp_path))
    before(store, "write_once", 1, lambda: other.write(first))
    assert store.write(second) == first
    assert store.rows("a") == first and len(store.read()) == 1


def test_a_trial_that_another_has_finished_and_compacted_meanwhile(tmp_path: Path) -> None:
    """The trial's file appears and disappears between the check and the write."""
    first, second = ([row("a", seed=seed)] for seed in (1, 2))
    store, other = Store(str(tmp_path)), Store(str(tmp_path))
    before(store, "write_once", 1, lambda: (other.write(first), other.compact()))
    assert store.write(second) == first
    assert store.rows("a") == first and len(store.read()) == 1
    assert store.folder.names("rows") == []


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_failure_that_comes_late_changes_nothing(tmp_path: Path, status: str) -> None:
    """One process stopped while writing its failure, and meanwhile another one retried."""
    first = [row("a", status="failed", error="NaN")]
    finished, late = [row("a", seed=1)], [row("a", seed=2, status=status)]
    store, other = Store(str(tmp_path)), Store(str(tmp_path))
    store.write(first)
    write = "write_once" if status == "finished" else "write"
    before(store, write, 1, lambda: other.write(finished))
    assert store.write(late) == finished
    assert store.rows("a") == finished and store.read()["seed"].to_pylist() == [1]
    assert store.folder.names("rows") == ["a.parquet"]


@pytest.mark.parametrize("compacted", [False, True])
def test_a_finished_row_counts_more_than_a_failure_that_is_left(
    tmp_path: Path, compacted: bool
) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", status="failed", error="NaN")])
    left = store.folder.read("rows/a.failed.parquet")
    store.write([row("a", seed=1)])
    if compacted:
        store.compact()
    store.folder.write("rows/a.failed.parquet", left)
    assert store.rows("a") == [row("a", seed=1)] and store.trial_ids() == {"a"}
    assert store.read(["seed"]).to_pylist() == [{"seed": 1}]
    store.tidy({"b"})
    assert "a.failed.parquet" in store.folder.names("rows")
    store.tidy({"a"})
    assert "a.failed.parquet" not in store.folder.names("rows")


def test_a_failure_of_an_older_version_is_read_and_replaced(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    failed = [row("a", status="failed", error="NaN")]
    store.write(failed)
    store.folder.move("rows/a.failed.parquet", "rows/a.parquet")  # its former place
    assert store.rows("a") == failed and store.read()["error"].to_pylist() == ["NaN"]
    assert store.compact() == 0
    again = [row("a", status="failed", error="NaN again")]
    store.write(again)
    assert store.rows("a") == again and store.folder.names("rows") == ["a.failed.parquet"]
    store.folder.move("rows/a.failed.parquet", "rows/a.parquet")
    store.write([row("a", seed=1)])
    assert store.rows("a") == [row("a", seed=1)]
    assert store.folder.names("rows") == ["a.parquet"]


def test_an_id_is_not_a_path(tmp_path: Path) -> None:
    outside = tmp_path / "victim.parquet"
    outside.write_bytes(b"not rows")
    assert Store(str(tmp_path / "results")).rows("../../victim") == []
    assert outside.exists()


def test_a_file_without_readable_rows_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.parquet").write_bytes(b"PAR1")

    def denied(*_: Any) -> None:
        raise StorageError("cannot write (Permission denied)")

    monkeypatch.setattr(store.folder, "move", denied)
    store.write([row("a", seed=1)])
    assert store.rows("a") == [row("a", seed=1)]


def test_a_write_that_breaks_off_leaves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", status="failed", error="old")])

    def half(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix.os, "fsync", half)
    with pytest.raises(StorageError, match="No space"):
        store.write([row("a", error="new")])
    assert store.read()["error"].to_pylist() == ["old"]


def test_rows_of_an_older_schema_are_read_and_of_a_newer_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", seed=42)])
    path = tmp_path / "rows" / "a.parquet"
    table = pq.read_table(path)
    newer = ["input_histograms", "hosts", "resumed_after", "array", "inference_depth"]
    older = table.drop_columns(newer)
    pq.write_table(older.replace_schema_metadata({"aa_ray.schema_version": "1"}), path)
    [read] = store.read().to_pylist()
    assert read == row("a", seed=42)
    pq.write_table(table.replace_schema_metadata({"aa_ray.schema_version": "99"}), path)
    with pytest.raises(UsageError, match=r"a.parquet was written by a newer aa_ray \(schema 99"):
        store.read()


def test_a_uri_of_another_file_system(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/there")
    store.write([row("a")])
    assert read(str(tmp_path / "there"))["trial_id"].to_pylist() == ["a"]


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--results gopher://x: cannot be used"):
        Store("gopher://x")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        Store(str(tmp_path / "file"))


TRIAL = "0f1e2d3c4b5a69788796"


def foreign(path: Path, whole: bytes) -> None:
    pq.write_table(pa.table({"trial_id": ["a"]}), path)


def flipped(path: Path, whole: bytes) -> None:
    """Flip one bit of the trial's id inside a data page; a checksum detects it."""
    at = whole.index(TRIAL.encode())
    path.write_bytes(whole[:at] + b"1" + whole[at + 1 :])


def renamed(path: Path, whole: bytes) -> None:
    Store(str(path.parents[1])).write([row("b")])
    (path.parent / "b.parquet").replace(path)


def without_rows(path: Path, whole: bytes) -> None:
    pq.write_table(SCHEMA.empty_table(), path)


DAMAGES: dict[str, Callable[[Path, bytes], object]] = {
    "empty": lambda path, whole: path.write_bytes(b""),
    "truncated": lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    "flipped bit": flipped,
    "text": lambda path, whole: path.write_text("not Parquet"),
    "foreign": foreign,
    "of another trial": renamed,
    "without rows": without_rows,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_file_is_named_and_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = Store(str(tmp_path))
    store.write([row(TRIAL)])
    store.write([row("whole")])
    path = tmp_path / "rows" / f"{TRIAL}.parquet"
    DAMAGES[damage](path, path.read_bytes())
    assert store.read()["trial_id"].to_pylist() == ["whole"]
    [said] = caplog.messages
    assert f"{path} does not hold rows of aa_ray (" in said
    assert said.endswith("moved to set-aside/; its trials will run again") and "\n" not in said
    assert (tmp_path / "set-aside" / path.name).exists() and not path.exists()
    assert store.row(TRIAL) is None
    store.write([row(TRIAL, seed=1)])
    found = store.row(TRIAL)
    assert found is not None and found["seed"] == 1


def test_a_broken_file_that_cannot_be_moved_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.parquet").write_bytes(b"PAR1")

    def denied(*_: Any) -> None:
        raise StorageError("cannot write (Permission denied)")

    monkeypatch.setattr(store.folder, "move", denied)
    assert len(store.read()) == 0
    assert "it is ignored (cannot write (Permission denied))" in caplog.text


def test_a_file_system_that_fails_says_nothing_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    store.write([row("a")])

    def fail(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(posix.Posix, "read", fail)
    with pytest.raises(StorageError, match=r"cannot read .*a.parquet \(Input/output error\)"):
        store.read()
    assert (tmp_path / "rows" / "a.parquet").exists()
