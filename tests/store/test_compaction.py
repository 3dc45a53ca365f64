"""aa_ray.store.rows: compaction loses, changes and repeats no row."""

from pathlib import Path

import pytest

from aa_ray.store import rows
from aa_ray.store.rows import Store
from tests.rows import row


@pytest.mark.parametrize("many", [1, 2, 100])
def test_compacted_rows_are_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(rows, "COMPACTED_TRIALS", 2)
    monkeypatch.setattr(rows, "MANY", many)
    store = Store(str(tmp_path))
    for trial in "abc":
        store.write([row(trial, seed=1), row(trial, seed=2)])
    store.write([row("d", status="failed", error="broken")])
    before = store.read()
    assert store.compact() == 3 and store.compact() == 0
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["d.failed.parquet"]
    assert len(list((tmp_path / "compacted").iterdir())) == 2
    again = Store(str(tmp_path))
    for each in (store, again):
        assert each.read().sort_by([("trial_id", "ascending"), ("seed", "ascending")]) == before
        assert each.trial_ids() == set("abcd")
        found = each.row("b")
        assert found is not None and found["seed"] == 1
    assert again.read(["seed"]).schema.names == ["seed"]
    assert again.row("z") is None


def test_a_trial_that_was_compacted_half_counts_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write([row("a", seed=1)])
    content = (tmp_path / "rows" / "a.parquet").read_bytes()
    store.compact()
    (tmp_path / "rows" / "a.parquet").write_bytes(content)  # killed before removing the file
    store.write([row("b")])
    assert store.read()["trial_id"].to_pylist() == ["a", "b"]
    assert store.compact() == 2
    assert sorted(store.read()["trial_id"].to_pylist()) == ["a", "b"]


def test_a_broken_compacted_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path))
    store.write([row("a")])
    store.compact()
    [path] = (tmp_path / "compacted").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert store.trial_ids() == set() and (tmp_path / "set-aside" / path.name).exists()
    assert "moved to set-aside/; its trials will run again" in caplog.text


def test_reading_misses_nothing_while_rows_are_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    for trial in "ab":
        store.write([row(trial)])
    read = store.folder.read
    busy: list[str] = []

    def read_while_compacting(path: str) -> bytes:
        if not busy:
            busy.append(path)
            Store(str(tmp_path)).compact()
        return read(path)

    monkeypatch.setattr(store.folder, "read", read_while_compacting)
    assert sorted(store.read()["trial_id"].to_pylist()) == ["a", "b"]
