"""Caches tokenised examples in files that all processes of this machine map into memory.

A file is in Arrow's format with one record batch: lists of numbers in ``input_ids`` and
``token_type_ids``, and numbers in ``label``. Opening it copies nothing, and its pages are in memory
only once, no matter how many processes train on it. The schema holds a checksum of the content, so
that a damaged file is noticed and written again. A file is written under a lock and a temporary
name, and renamed when it is complete.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from aa_ray.data.batches import Examples

try:
    import fcntl
except ImportError:  # on Windows each process has its own examples
    fcntl = None  # type: ignore[assignment]

# Names the folder; if it is empty, no files are kept.
VARIABLE = "AA_RAY_CACHE"

# Suffix of incomplete files.
PARTIAL = ".partial"

# No process is still writing an incomplete file of this age.
STALE_SECONDS = 24 * 3600

# Seconds between two attempts to get a lock.
LOOK_SECONDS = 0.1

CHECKSUM = b"sha256"


class CacheError(Exception):
    """Nothing can be cached; the message says why."""


class _Damaged(Exception):
    """The file differs from what was written."""


def folder() -> Path | None:
    """The folder of the cache: ``$AA_RAY_CACHE``, else ``aa-ray`` in the user's cache folder.

    None if the variable is empty.

    Raises:
        CacheError: the user has no home folder.
    """
    named = os.environ.get(VARIABLE)
    if named == "":
        return None
    if named is not None:
        return Path(named).expanduser()
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise CacheError(str(error)) from error
    return Path(caches) / "aa-ray"


def examples(
    name: str, make: Callable[[], Examples], beat: Callable[[], object] = lambda: None
) -> Examples:
    """The examples in the file of this name; if there is none, it is written from ``make``.

    If several processes ask at the same time, one makes the examples, and the others wait. If no
    files are kept, the examples are made in memory.

    Args:
        beat: is called from time to time while this waits.

    Raises:
        CacheError: the folder cannot be used, or is full.
    """
    kept = folder()
    if kept is None:
        return make()
    path = kept / f"{name}.arrow"
    with contextlib.suppress(FileNotFoundError, _Damaged):
        return _opened(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock"), beat):
            with contextlib.suppress(FileNotFoundError, _Damaged):
                return _opened(path)  # another process has made it meanwhile
            _remove_stale(path.parent)
            _write(path, make())
            return _opened(path)
    except OSError as error:
        raise CacheError(f"{path.parent}: {error.strerror or error}") from error
    except _Damaged as error:
        raise CacheError(f"{path.parent} does not keep what is written there ({error})") from error


@contextlib.contextmanager
def _lock(path: Path, beat: Callable[[], object]) -> Iterator[None]:
    """Hold the lock, which the system releases if the process dies."""
    if fcntl is None:
        raise OSError("no locks on this system")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                beat()
                time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(handle)


def _remove_stale(folder: Path) -> None:
    """Remove half-written files of dead processes."""
    for partial in folder.glob(f"*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()


def _write(path: Path, made: Examples) -> None:
    """Write the examples atomically.

    Raises:
        OSError: no space, or no permission.
    """
    batch = _batch(made)
    handle, partial = tempfile.mkstemp(PARTIAL, f"{path.name}.", path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _batch(made: Examples) -> pa.RecordBatch:
    """The examples as a record batch with a checksum, in their order."""
    offsets = np.concatenate([[0], np.cumsum(made.lengths)])
    arrays = {"input_ids": _lists(offsets, made.input_ids), "label": pa.array(made.labels)}
    if made.token_type_ids.strides != (0,):  # else they are all 0
        arrays["token_type_ids"] = _lists(offsets, made.token_type_ids)
    batch = pa.RecordBatch.from_pydict(arrays)
    return batch.replace_schema_metadata({CHECKSUM: _checksum(batch)})


def _lists(offsets: np.ndarray, values: np.ndarray) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _checksum(batch: pa.RecordBatch) -> bytes:
    """Hexadecimal digest of all numbers and of the schema."""
    digest = hashlib.sha256(batch.schema.to_string(show_schema_metadata=False).encode())
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None:
                digest.update(buffer)
    return digest.hexdigest().encode()


def _opened(path: Path) -> Examples:
    """The examples of a complete file, without copying them.

    Raises:
        FileNotFoundError: the file does not exist.
        _Damaged: it differs from what was written.
    """
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        [batch] = [reader.get_batch(n) for n in range(reader.num_record_batches)]
        batch.validate()
        if batch.schema.metadata.get(CHECKSUM) != _checksum(batch):
            raise _Damaged("its checksum does not match its content")
        ids, labels = batch["input_ids"], batch["label"]
        starts = ids.offsets.to_numpy()
        segments = None
        if "token_type_ids" in batch.schema.names:
            segments = batch["token_type_ids"].values.to_numpy()
        return Examples.from_arrays(
            ids.values.to_numpy(), segments, np.diff(starts), labels.to_numpy()
        )
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        raise _Damaged(" ".join(str(error).split())) from error
