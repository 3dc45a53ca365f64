"""Silences log messages of the underlying libraries that users do not need.

Importing a module silences nothing, since that is the program's decision, not a library's.
Programs call ``quiet_libraries`` when they start. Functions that expect a certain warning wrap the
call that causes it in ``only_errors``.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def quiet_libraries() -> None:
    """Let transformers, AdapterHub and the hub's client log only errors in this process.

    Their warnings are about intended things: a classifier without weights, no active adapter, each
        retry of the hub's client. This function imports none of these libraries, since that takes
        seconds; those that are imported later read the environment.
    """
    for name in ("transformers", "huggingface_hub"):
        if name in sys.modules:
            logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("adapters").setLevel(logging.ERROR)


@contextmanager
def only_errors(*names: str) -> Iterator[None]:
    """Context in which loggers with these names only log errors."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
