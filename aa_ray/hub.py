"""Checks whether the Hugging Face hub answers, and says what to do if it does not.

The hub's libraries retry for half a minute before they give up. So everything that needs the hub
asks here first, which takes a few seconds at most. If the hub does not answer, files in its cache
are used without asking it.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Seconds to wait for the hub's answer, and seconds after which it is asked again.
PATIENCE = 3.0
MEMORY = 60.0

# How long the hub's library waits for an answer; if it is set, this module waits as long.
_PATIENCE_VARIABLE = "HF_HUB_ETAG_TIMEOUT"
# Answers of a gateway that cannot reach the hub.
_UNAVAILABLE = (502, 503, 504)
# Libraries that copy the flag when they are imported -> its names there.
_COPIES = {
    "transformers.utils.hub": ("_is_offline_mode",),
    "datasets.config": ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
}

_asked: tuple[float, str] | None = None  # time of the last question, and its answer


def silence() -> str:
    """Why the hub cannot be used; empty if it can."""
    global _asked
    from huggingface_hub import constants  # takes a third of a second; seldom needed

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    now = time.monotonic()
    if _asked is None or now - _asked[0] > MEMORY:
        _asked = now, _ask(constants.ENDPOINT)
    return _asked[1]


def refusal(cached: bool, folder: Path, instead: str) -> str:
    """Why something cannot come from the hub, and what to do; empty if it can.

    Args:
        cached: whether it is in the cache.
        folder: folder of the cache.
        instead: the options that do not need the hub.
    """
    reason = "" if cached else silence()
    if not reason:
        return ""
    return (
        f"not in the hub's cache {folder}, and {reason}; use {instead}, or fill the cache on a "
        "machine with a network (cluster/hub_cache.py), copy it here and set HF_HUB_OFFLINE=1"
    )


@contextmanager
def from_cache_if_silent(cached: bool) -> Iterator[None]:
    """Context in which the hub's libraries only use the cache, if the hub does not answer."""
    from huggingface_hub import constants

    # With HF_HUB_OFFLINE nothing is asked anyway.
    switched = cached and not constants.HF_HUB_OFFLINE and bool(silence())
    if switched:
        _set_offline(True)
    try:
        yield
    finally:
        if switched:
            _set_offline(False)


def cached_file(name: str, *files: str) -> Path | None:
    """The first of the model's files that is in the cache; None if none is."""
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        with suppress(ValueError, OSError):  # for example a path, not the name of a model
            path = try_to_load_from_cache(name, file)
            if isinstance(path, str):
                return Path(path)
    return None


def cache() -> Path:
    """The folder of the cache for models."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def datasets_cache() -> Path:
    """The folder of the cache for data sets."""
    from huggingface_hub import constants

    return Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME, "datasets")))


def has_dataset(name: str, config: str | None = None) -> bool:
    """Whether the cache has any file of the data set."""
    folder = datasets_cache() / name.replace("/", "___")
    raw = cache() / f"datasets--{name.replace('/', '--')}"
    return (folder / (config or "")).is_dir() or raw.is_dir()


def _ask(endpoint: str) -> str:
    """Why the hub does not answer in time; empty if it gives any answer."""
    patience = float(os.environ.get(_PATIENCE_VARIABLE, PATIENCE))
    answers: list[str] = []

    def ask() -> None:
        from huggingface_hub.utils import get_session

        try:
            answer = get_session().head(endpoint, timeout=patience, allow_redirects=False)
        except Exception as error:  # socket, TLS and proxy errors have no common base class
            answers.append(f"{endpoint} cannot be reached ({_cause(error)})")
            return
        bad = answer.status_code in _UNAVAILABLE
        answers.append(f"{endpoint} answers {answer.status_code}" if bad else "")

    # A name server may take longer than any timeout of a request.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    if not answers:
        return (
            f"{endpoint} has not answered for {patience:g} s ({_PATIENCE_VARIABLE} sets how long "
            "to wait)"
        )
    return answers[0]


def _cause(error: BaseException) -> str:
    """The root cause of an error, in a few words."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _set_offline(offline: bool) -> None:
    """Set, in this process, the flag that HF_HUB_OFFLINE sets at the start."""
    from huggingface_hub import constants
    from huggingface_hub.utils import reset_sessions

    constants.HF_HUB_OFFLINE = offline
    reset_sessions()  # existing sessions remember the flag
    for module, names in _COPIES.items():
        for name in names if module in sys.modules else ():
            setattr(sys.modules[module], name, offline)
