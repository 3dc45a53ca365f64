"""Checks for ``aa-ray doctor``: where backbone and data come from; whether rows can be written."""

import time
from pathlib import Path

from aa_ray import hub
from aa_ray.core import backbones
from aa_ray.data import tasks
from aa_ray.data.glue import HUB_DATASET, Source
from aa_ray.errors import StorageError, UsageError
from aa_ray.store.storage import Folder
from aa_ray.training.doctor import BROKEN, OK, SLOW, Finding


def results(uri: str) -> Finding:
    """Whether the folder can be written to, and how long that takes."""
    started = time.perf_counter()
    try:
        folder = Folder(uri)
        folder.check_writable()
        free = folder.free_bytes()
    except (UsageError, StorageError) as error:
        return Finding(BROKEN, str(error), "make it writable, or use another --results")
    space = "" if free is None else f", {free / 1e9:,.1f} GB free"
    took = 1000 * (time.perf_counter() - started)
    return Finding(OK, f"{folder.uri} is writable ({took:.0f} ms to write and delete{space})")


def inputs(backbone: str, data: str) -> Finding:
    """The origin of backbone and data on this machine."""
    silence = hub.silence()
    parts = [_backbone(backbone, silence == ""), _data(data, silence == "")]
    text = "; ".join([*(part for part, _ in parts), f"hub: {silence or 'answers'}"])
    if all(there for _, there in parts):
        return Finding(OK, text)
    return Finding(
        BROKEN,
        text,
        "fill the hub's cache on a machine with a network (cluster/hub_cache.py fill), or pass "
        "folders to --backbone and --data",
    )


def _backbone(name: str, answers: bool) -> tuple[str, bool]:
    """The origin of the backbone, and whether it is available."""
    if Path(name).is_absolute() or name == backbones.MINILM:
        try:
            path = backbones.find(name).path
        except UsageError as error:
            return str(error), False
        return f"backbone {name}: {path}", True
    cached = (hub.cache() / f"models--{name.replace('/', '--')}").is_dir()
    place = f"in {hub.cache()}" if cached else "from the hub" if answers else "nowhere"
    return f"backbone {name}: {place}", cached or answers


def _data(name: str, answers: bool) -> tuple[str, bool]:
    """The origin of the data, and whether they are available."""
    location = Source.named(name).location
    if location == "embedded":
        return "data: generated", True
    if location == "hub":
        cached = hub.has_dataset(HUB_DATASET)
        place = f"in {hub.datasets_cache()}" if cached else "from the hub" if answers else "nowhere"
        return f"data {HUB_DATASET}: {place}", cached or answers
    there = [task for task in tasks.TASKS if Path(location, task, "train.parquet").is_file()]
    return f"data {location}: {', '.join(there) or 'no task'}", bool(there)


def differing_clock(seconds: float, doubt: float) -> Finding:
    """The finding for a clock that differs from this machine's by ``seconds``.

    Args:
        doubt: uncertainty of the difference: the duration of the query.
    """
    text = f"the clock differs by {seconds:+.1f} s (±{doubt:.1f})"
    if abs(seconds) - doubt < 2:
        return Finding(OK, text)
    advice = "set the clock (NTP): times in rows are wrong by that much"
    return Finding(BROKEN if abs(seconds) > 12 * 3600 else SLOW, text, advice)
