"""Backbone and GLUE from the hub once per cluster: one machine fetches, the others copy its cache.

    python cluster/hub_cache.py fill s3://bucket/hub.tar --backbone bert-large-uncased
    python cluster/hub_cache.py take s3://bucket/hub.tar

``fill`` fetches what is missing into the hub's cache of this machine (HF_HOME) and packs the cache
into the archive. If the archive already exists, ``fill`` unpacks it instead. ``take`` unpacks the
archive, so that studies on this machine run with HF_HUB_OFFLINE=1. The archive is a path, or a URI
such as s3:// and gs://. If all machines share a folder, let HF_HOME point into it; then ``fill``
is enough:

    HF_HOME=/shared/hub python cluster/hub_cache.py fill --backbone bert-large-uncased
"""

import argparse
import os
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.errors import FAILED_WORK, UsageError


def cache() -> Path:
    """The folder in which the hub's libraries look first."""
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()


def fetch(backbone: str, names: list[str]) -> None:
    """Fetch the backbone, its tokenizer, and the tasks from the hub into the cache.

    Raises:
        UsageError: the hub does not provide one of them.
    """
    from transformers import AutoTokenizer, BertForSequenceClassification

    from aa_ray.core import backbones

    found = backbones.find(backbone)
    AutoTokenizer.from_pretrained(found.path)
    BertForSequenceClassification.from_pretrained(found.path, use_safetensors=True)
    for name in names:
        Source("hub").load(name)


def pack(archive: str) -> None:
    """Write the cache into the archive, atomically."""
    store, path = fs.FileSystem.from_uri(_uri(archive))
    partial = f"{path}.{os.getpid()}.part"
    with (
        store.open_output_stream(partial) as stream,
        tarfile.open(fileobj=stream, mode="w|") as tar,
    ):
        tar.add(cache(), arcname=".")
    store.move(partial, path)


def take(archive: str) -> bool:
    """Unpack the archive into the cache; returns whether it exists."""
    store, path = fs.FileSystem.from_uri(_uri(archive))
    if store.get_file_info(path).type != fs.FileType.File:
        return False
    cache().mkdir(parents=True, exist_ok=True)
    with store.open_input_stream(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        tar.extractall(cache(), filter="data")  # nothing outside the cache, no devices
    return True


def _uri(archive: str) -> str:
    return archive if "://" in archive else Path(archive).expanduser().resolve().as_uri()


def main(arguments: list[str]) -> int:
    """Fill or take; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["fill", "take"])
    parser.add_argument("archive", nargs="?", metavar="URI", help="path or URI of the archive")
    parser.add_argument(
        "--backbone", default="bert-large-uncased", help="backbone to fetch (default: %(default)s)"
    )
    parser.add_argument("--tasks", nargs="+", default=list(tasks.TASKS), metavar="TASK",
                        choices=list(tasks.TASKS), help="tasks (default: all nine)")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.action == "take" and options.archive is None:
        parser.error("take: expected the URI of an archive")
    try:
        if options.archive and take(options.archive):
            print(f"{cache()} now matches {options.archive}")
        elif options.action == "take":
            raise UsageError(f"{options.archive} does not exist; run fill on another machine first")
        else:
            fetch(options.backbone, options.tasks)
            if options.archive:
                pack(options.archive)
            print(f"{cache()} holds {options.backbone} and {' '.join(options.tasks)}")
    except (UsageError, OSError, pa.ArrowException, tarfile.TarError) as error:
        print(f"hub_cache.py: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED_WORK
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
