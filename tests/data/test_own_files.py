"""aa_ray.data.own_files: all file types give the same table; a bad file gives a one-line error."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aa_ray.data.own_files import Files
from aa_ray.data.tasks import Task
from aa_ray.errors import UsageError

TEXTS = ["plain", 'with "quotes", commas\nand a line\u2028break', "äöü", ""]
LABELS = ["yes", "no", "no", "yes"]
ROWS = [
    {"text": t, "answer": a, "score": n / 2}
    for n, (t, a) in enumerate(zip(TEXTS, LABELS, strict=True))
]
CLASSES = Task("toy", "Toy", ("text",), 2, ("accuracy",), 0, 0)
NUMBER = Task("toy", "Toy", ("text",), 0, ("spearman",), 0, 0)


def separated(path: Path, delimiter: str) -> None:
    lines = [delimiter.join(ROWS[0])]
    for row in ROWS:
        text = '"' + str(row["text"]).replace('"', '""') + '"'
        lines.append(delimiter.join([text, str(row["answer"]), str(row["score"])]))
    path.write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: separated(path, ","),
    "a.tsv": lambda path: separated(path, "\t"),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.jsonl": lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "a.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    train, test = Files(name, name, "answer", ("no", "yes"), str(tmp_path)).tables(CLASSES)
    assert train.to_pydict() == {"text": TEXTS, "label": [1, 0, 0, 1]} == test.to_pydict()
    assert train.schema.field("label").type == pa.int64()
    train, _ = Files(name, name, "score", (), str(tmp_path)).tables(NUMBER)
    assert train["label"].to_pylist() == [0, 0.5, 1, 1.5]
    assert train.schema.field("label").type == pa.float64()


def test_a_share_is_held_out_the_same_every_time(tmp_path: Path) -> None:
    rows = [{"text": str(n), "answer": n % 2} for n in range(50)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    files = Files("a.json", 0.3, "answer", ("0", "1"), str(tmp_path))
    train, test = files.tables(CLASSES)
    assert (len(train), len(test)) == (35, 15) == files.sizes(CLASSES)
    both = train["text"].to_pylist() + test["text"].to_pylist()
    assert sorted(both, key=int) == [str(n) for n in range(50)]
    assert files.tables(CLASSES)[1].equals(test)
    assert test["text"].to_pylist() != [str(n) for n in range(35, 50)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,answer\na,yes,more\n", "a line has more or fewer fields than the first"),
        ("a.csv", "text,answer\na\n", "a line has more or fewer fields than the first"),
        ("a.csv", "", "column text, answer is missing"),
        ("a.json", "[{]", "a.json cannot be read"),
        ("a.json", "3", "a.json cannot be read"),
        ("a.jsonl", '{"text": "a"', "a.jsonl cannot be read"),
        ("a.parquet", "PAR1", "a.parquet cannot be read"),
        ("a.xlsx", "", "expected a file name ending in"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError) as raised:
        Files(name, 0.5, "answer", ("no", "yes"), str(tmp_path)).tables(CLASSES)
    assert message in str(raised.value) and str(raised.value).startswith("task toy")


def test_a_label_that_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,answer\na,3.5\nb,high\n")
    with pytest.raises(UsageError, match=r"column answer: .*high"):
        Files("a.csv", 0.5, "answer", (), str(tmp_path)).tables(NUMBER)
