"""aa_ray.data.cache and tokenised: files hold the same as a computation in memory."""

import errno
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from aa_ray.core.backbones import Backbone
from aa_ray.data import batches, cache, generated, tasks, tokenised
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Official, split
from aa_ray.data.rows import Rows
from aa_ray.data.tokenised import Tokeniser

RTE = tasks.get("rte")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up a cache folder, also for few rows."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(tokenised, "LEAST_ROWS", 10)
    return tmp_path / "cache"


@pytest.fixture
def tokenizer(tiny: Backbone) -> Any:
    return AutoTokenizer.from_pretrained(tiny.path)


@pytest.fixture
def official() -> Official:
    return Official(*(table.slice(0, 200) for table in generated.generate("rte")))


def made(count: int = 20, seed: int = 0) -> Examples:
    """Return examples of random numbers; the first has no tokens."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, 30_000, n).tolist() for n in [0, *rng.integers(1, 9, count - 1)]]
    return Examples.from_lists(ids, [[1] * len(row) for row in ids], rng.integers(0, 3, count))


def never() -> Examples:
    raise AssertionError("they are there already")


def same(one: Examples, other: Examples) -> bool:
    """Return whether both give the same batches."""
    return (
        one.id_lists() == other.id_lists()
        and one.segment_lists() == other.segment_lists()
        and one.labels.dtype == other.labels.dtype
        and one.labels.tolist() == other.labels.tolist()
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("segments", [True, False])
def test_a_file_gives_what_memory_gives(tokenizer: Any, official: Official, segments: bool) -> None:
    splits = split(official, "full", 42)
    in_files = Tokeniser(tokenizer)
    for rows in splits:
        examples = in_files.examples(rows, RTE, 12, segments)
        expected = batches.tokenise(rows.taken(), RTE, tokenizer, 12, segments)
        assert same(examples, expected) and any(map(any, expected.segment_lists())) == segments
        one, other = (list(batches.by_length(part, 50)) for part in (examples, expected))
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_training_and_development_examples_lie_in_one_file(
    folder: Path, tokenizer: Any, official: Official
) -> None:
    splits = split(official, "full", 42)
    train, development = (
        Tokeniser(tokenizer).examples(rows, RTE, 12) for rows in (splits.train, splits.development)
    )
    assert [path.suffix for path in sorted(folder.iterdir())] == [".arrow", ".lock"]
    assert len(train.input_ids) == len(development.input_ids) > train.lengths.sum()
    assert not train.input_ids.flags.owndata and not train.input_ids.flags.writeable
    assert train.input_ids.itemsize + train.token_type_ids.itemsize == 5  # bytes per token


def test_few_rows_make_no_file(
    folder: Path, tokenizer: Any, official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenised, "LEAST_ROWS", 201)
    Tokeniser(tokenizer).examples(Rows(official.train), RTE, 12)
    monkeypatch.setattr(tokenised, "LEAST_ROWS", 200)
    monkeypatch.setenv(cache.VARIABLE, "")
    Tokeniser(tokenizer, pytest.fail).examples(Rows(official.train), RTE, 12)
    assert not folder.exists()


def test_what_is_made_once_is_opened_by_others(folder: Path) -> None:
    first, second = cache.examples("a", made), cache.examples("a", never)
    assert same(first, made()) and same(second, made())
    assert same(cache.examples("b", lambda: made(seed=1)), made(seed=1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_file_is_named_after_everything_that_decides_its_content(
    folder: Path, tokenizer: Any, official: Official, tiny: Backbone
) -> None:
    table = official.train
    cased = AutoTokenizer.from_pretrained(tiny.path, do_lower_case=False)
    other = table.set_column(
        0, "sentence1", pa.array(["other", *table["sentence1"].to_pylist()[1:]])
    )
    flipped = table.set_column(2, "label", pa.array([1 - y for y in table["label"].to_pylist()]))
    variants: list[tuple[Any, pa.Table, int, bool]] = [
        (tokenizer, table, 12, True), (cased, table, 12, True), (tokenizer, other, 12, True),
        (tokenizer, flipped, 12, True), (tokenizer, table, 13, True), (tokenizer, table, 12, False),
    ]  # fmt: skip
    for of, rows, length, segments in variants:
        Tokeniser(of).examples(Rows(rows), RTE, length, segments)
    assert len(list(folder.glob("*.arrow"))) == len(variants)
    table = table.select(["sentence1", "sentence2", "label"])
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)])
    narrow = chunks.set_column(2, "label", chunks["label"].cast(pa.int8()))
    for again in (chunks, narrow):
        Tokeniser(tokenizer).examples(Rows(again), RTE, 12)  # also after earlier use
    assert len(list(folder.glob("*.arrow"))) == len(variants)


@given(st.lists(st.text(max_size=5), min_size=3, max_size=8), st.data())
def test_the_hash_of_texts_knows_where_they_end(texts: list[str], data: st.DataObject) -> None:
    def hashed(texts: list[str]) -> str:
        both = pa.array(texts), pa.array([""] * len(texts), pa.large_string())
        table = pa.table({"sentence1": both[0], "sentence2": both[1], "label": [0] * len(texts)})
        return tokenised.content(table.slice(1), RTE)

    other = data.draw(st.permutations(texts))
    assert (hashed(texts) == hashed(other)) == (texts[1:] == other[1:])
    joined = ["", texts[1] + texts[2], "", *texts[3:]]
    assert (hashed(texts) == hashed(joined)) == (texts[1:] == joined[1:])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("content", [b"", b"ARROW1", b"noise" * 1000])
def test_what_is_no_such_file_is_made_again(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "a.arrow").write_bytes(content)
    assert same(cache.examples("a", made), made())
    assert same(cache.examples("a", never), made())


def test_no_flipped_bit_and_no_lost_end_goes_unnoticed(folder: Path) -> None:
    cache.examples("a", made)
    path = folder / "a.arrow"
    whole = path.read_bytes()

    @settings(max_examples=300)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7), st.booleans())
    def check(position: int, bit: int, cut: bool) -> None:
        damaged = bytearray(whole[:position] if cut else whole)
        if not cut:
            damaged[position] ^= 1 << bit
        new = folder / "new"
        new.write_bytes(damaged)
        os.replace(new, path)
        assert same(cache.examples("a", made), made())

    check()


BUILD = """
import os, sys, time
from aa_ray.data import cache
from tests.data.test_cache import made

def make():
    with open(sys.argv[1], "a") as file:
        file.write("made\\n")
    time.sleep(0.5)
    return made()

if len(sys.argv) > 2:
    os.fsync = lambda _: os._exit(9)  # the content is written, but not under its name
examples = cache.examples("a", make)
assert examples.lengths.tolist() == made().lengths.tolist()
"""


def test_of_several_processes_one_makes_them(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", BUILD, str(log)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(100) for process in running] == [0, 0, 0]
    assert log.read_text() == "made\n" and (folder / "a.arrow").exists()


def test_a_process_that_dies_leaves_nothing_that_counts(folder: Path, tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path / "log"), "die"], timeout=100)
    assert died.returncode == 9 and not (folder / "a.arrow").exists()
    [partial] = folder.glob("*.partial")
    assert same(cache.examples("a", made), made())
    old = time.time() - 2 * cache.STALE_SECONDS
    os.utime(partial, (old, old))
    cache.examples("b", made)
    assert not partial.exists()


def no_folder(folder: Path, _: pytest.MonkeyPatch) -> None:
    folder.write_text("a file")


def full_disk(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pa.ipc, "new_file", write)


def no_locks(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(cache.fcntl, "flock", lock)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (no_folder, "Not a directory|File exists"),
        (full_disk, "No space left on device"),
        (no_locks, "No locks available"),
    ],
)
def test_without_a_place_for_files_it_works_in_memory_and_says_so_once(
    folder: Path,
    tokenizer: Any,
    official: Official,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    fault(folder, monkeypatch)
    said: list[str] = []
    tokeniser = Tokeniser(tokenizer, said.append)
    expected = batches.tokenise(official.train, RTE, tokenizer, 12)
    for _ in range(2):
        assert same(tokeniser.examples(Rows(official.train), RTE, 12), expected)
    [line] = said
    assert re.search(reason, line), line
    assert not folder.is_dir() or not list(folder.glob("*.partial"))


def test_waiting_and_working_are_told(tokenizer: Any, official: Official) -> None:
    beats: list[int] = []
    few = replace(Rows(official.train), indices=np.arange(5))
    Tokeniser(tokenizer, beat=lambda: beats.append(1)).examples(few, RTE, 12)
    assert beats
