"""What the libraries underneath say, and what of it a user need not hear.

Nothing is silenced when a module is imported: that is for the program to decide, not for a library.
Programs call ``quiet_libraries`` when they start. Functions that expect a certain warning wrap the
call that causes it in ``only_errors``.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def quiet_libraries() -> None:
    """Let transformers, AdapterHub and the hub's client report errors only, in this process.

    They warn about what is as it should be: a classifier without weights, adapters of which none is
    active, each of the hub client's retries. Imports none of them, since that takes seconds: those
    that come later read the environment.
    """
    for name in ("transformers", "huggingface_hub"):
        if name in sys.modules:
            logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("adapters").setLevel(logging.ERROR)


@contextmanager
def only_errors(*names: str) -> Iterator[None]:
    """Within the block, the loggers of these names report errors only."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
