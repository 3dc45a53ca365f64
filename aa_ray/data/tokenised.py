"""Tokenises the examples of trials: small sets in memory, large ones in a file of the machine.

Tokenising a training set of 400,000 pairs takes minutes of CPU time. So it is done once for each
tokenizer and length, for all processes of a machine; see ``cache``. The name of the file depends on
everything that decides its content.
"""

import hashlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aa_ray.data import batches, cache
from aa_ray.data.batches import Examples
from aa_ray.data.rows import Rows
from aa_ray.data.tasks import Task

# Sets with at least this many rows are kept in a file; smaller ones take a second and a few MB.
LEAST_ROWS = 10_000

# Part of a file's name: increase it when the meaning of the content changes.
VERSION = 1


class Tokeniser:
    """Tokenises examples, and remembers the last large set.

    Args:
        tokenizer: the tokenizer, as transformers loads it.
        say: is called once if examples cannot be kept in files, with the reason.
        beat: is called from time to time while this works or waits.
    """

    def __init__(
        self,
        tokenizer: Any,
        say: Callable[[str], object] = lambda _: None,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self._tokenizer = tokenizer
        self._say, self._beat = say, beat
        self._fingerprint = ""
        self._in_files = True
        self._opened: dict[str, Examples] = {}  # the last file

    def examples(self, rows: Rows, task: Task, max_length: int, segments: bool = True) -> Examples:
        """The rows, tokenised.

        Args:
            max_length: maximum number of tokens of an example.
            segments: see ``batches.tokenise``.
        """

        def tokenised(table: pa.Table) -> Examples:
            return batches.tokenise(table, task, self._tokenizer, max_length, segments, self._beat)

        if len(rows) >= LEAST_ROWS and self._in_files:
            name = self._name(rows.table, task, max_length, segments)
            try:
                if name not in self._opened:  # mapped twice, it would count twice as memory in use
                    made = cache.examples(name, lambda: tokenised(rows.table), self._beat)
                    self._opened = {name: made}
                whole = self._opened[name]
                return whole if rows.indices is None else whole.select(rows.indices)
            except cache.CacheError as error:
                self._in_files = False
                self._say(
                    f"tokenised examples are not kept in a file ({error}); every process tokenises "
                    "its own"
                )
        return tokenised(rows.taken())

    def _name(self, table: pa.Table, task: Task, max_length: int, segments: bool) -> str:
        """The name of the file for the table's examples."""
        self._fingerprint = self._fingerprint or fingerprint(self._tokenizer)
        settings = [VERSION, self._fingerprint, content(table, task), max_length, segments]
        return f"{task.name}-{_sha256(json.dumps(settings).encode())[:20]}"


def fingerprint(tokenizer: Any) -> str:
    """Hash of everything that decides how a tokenizer tokenises a text."""
    digest = hashlib.sha256()
    for package in ("tokenizers", "transformers"):
        digest.update(importlib.metadata.version(package).encode())
    digest.update(type(tokenizer).__qualname__.encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(folder)}\n".encode())
                digest.update(_without_call_settings(path))
    return digest.hexdigest()


def _without_call_settings(path: Path) -> bytes:
    """The file's content without the settings of the tokenizer's last call."""
    content = path.read_bytes()
    if path.name != "tokenizer.json":
        return content
    fields = json.loads(content)
    for name in ("truncation", "padding"):
        fields.pop(name, None)
    return json.dumps(fields, sort_keys=True).encode()


def content(table: pa.Table, task: Task) -> str:
    """Hash of the texts and labels of a table, however Arrow has split them into chunks."""
    parts = []
    for column in task.texts:
        lengths, texts = hashlib.sha256(), hashlib.sha256()
        for chunk in table[column].chunks:
            lengths.update(pc.binary_length(chunk).cast(pa.int64()).to_numpy())
            texts.update(_bytes(chunk))
        parts += [lengths.hexdigest(), texts.hexdigest()]
    labels = table["label"].to_numpy().astype(np.float64)
    return _sha256("".join([*parts, _sha256(labels.tobytes())]).encode())


def _bytes(chunk: pa.Array) -> memoryview:
    """The concatenated texts in UTF-8, in Arrow's memory."""
    large = pa.types.is_large_string(chunk.type)
    _, offsets, texts = chunk.buffers()
    if texts is None:
        return memoryview(b"")
    of_rows = np.frombuffer(offsets, np.int64 if large else np.int32)
    start, stop = of_rows[chunk.offset], of_rows[chunk.offset + len(chunk)]
    return memoryview(texts)[start:stop]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
