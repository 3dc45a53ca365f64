"""Where backbone and data come from, and whether rows can be written: for ``aa-ray doctor``."""

import os
import socket
import time
import urllib.parse
from pathlib import Path

from huggingface_hub import constants

from aa_ray.core import backbones
from aa_ray.data import tasks
from aa_ray.data.glue import HUB_DATASET, Source
from aa_ray.errors import StorageError, UsageError
from aa_ray.store.storage import Folder
from aa_ray.training.doctor import BROKEN, OK, SLOW, Finding

HUB_SECONDS = 5.0


def results(uri: str) -> Finding:
    """Whether rows can be written to and read from the folder, and how long that takes."""
    started = time.perf_counter()
    try:
        folder = Folder(uri)
        folder.check_writable()
        free = folder.free_bytes()
    except (UsageError, StorageError) as error:
        return Finding(BROKEN, str(error), "make it writable, or give another --results")
    space = "" if free is None else f", {free / 1e9:,.1f} GB free"
    took = 1000 * (time.perf_counter() - started)
    return Finding(OK, f"{folder.uri} is writable ({took:.0f} ms to write and delete{space})")


def inputs(backbone: str, data: str) -> Finding:
    """Where backbone and data come from on this machine."""
    hub = _hub()
    parts = [_backbone(backbone, hub == ""), _data(data, hub == "")]
    text = "; ".join([*(part for part, _ in parts), f"hub: {hub or 'answers'}"])
    if all(there for _, there in parts):
        return Finding(OK, text)
    return Finding(
        BROKEN,
        text,
        "fill the hub's cache where there is a network (cluster/hub_cache.py fill), or give a "
        "folder to --backbone and --data",
    )


def _backbone(name: str, hub: bool) -> tuple[str, bool]:
    """Where the backbone comes from, and whether it can be had."""
    if Path(name).is_absolute() or name == backbones.MINILM:
        try:
            path = backbones.find(name).path
        except UsageError as error:
            return str(error), False
        return f"backbone {name}: {path}", True
    cached = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}").is_dir()
    place = f"in {constants.HF_HUB_CACHE}" if cached else "from the hub" if hub else "nowhere"
    return f"backbone {name}: {place}", cached or hub


def _data(name: str, hub: bool) -> tuple[str, bool]:
    """Where the data come from, and whether they can be had."""
    location = Source.named(name).location
    if location == "embedded":
        return "data: generated", True
    if location == "hub":
        cached = any(_datasets_cache().glob(f"*{HUB_DATASET.replace('/', '___')}*"))
        place = f"in {_datasets_cache()}" if cached else "from the hub" if hub else "nowhere"
        return f"data {HUB_DATASET}: {place}", cached or hub
    there = [task for task in tasks.TASKS if Path(location, task, "train.parquet").is_file()]
    return f"data {location}: {', '.join(there) or 'no task'}", bool(there)


def _datasets_cache() -> Path:
    """Where the package datasets keeps what it has fetched."""
    return Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME, "datasets")))


def _hub() -> str:
    """Why the hub does not answer; empty where it does."""
    if constants.HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE)"
    parts = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        address = (parts.hostname or "", parts.port or 443)
        socket.create_connection(address, timeout=HUB_SECONDS).close()
    except OSError as error:
        return f"does not answer ({error})"
    return ""


def differing_clock(seconds: float, doubt: float) -> Finding:
    """What a clock means that differs from this machine's by so many seconds.

    Args:
        doubt: how long the question was on its way, by which the difference may be wrong.
    """
    text = f"the clock differs by {seconds:+.1f} s (±{doubt:.1f})"
    if abs(seconds) - doubt < 2:
        return Finding(OK, text)
    advice = "set the clock (NTP): times in rows are wrong by that much"
    return Finding(BROKEN if abs(seconds) > 12 * 3600 else SLOW, text, advice)
