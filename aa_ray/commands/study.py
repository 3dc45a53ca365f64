"""The command line of a study: run the remaining trials, print the table.

Only what parsing needs is imported at the top, so that ``--help`` and wrong options answer
immediately. The functions below import the rest when they need it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from aa_ray.commands import options
from aa_ray.commands.from_options import study_from
from aa_ray.commands.presets import PAPER_BACKBONE
from aa_ray.core.logs import quiet_libraries
from aa_ray.errors import (
    FAILED_WORK,
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    WRONG_USAGE,
    StorageError,
    SweepError,
    UsageError,
    one_line,
    with_short_words,
)
from aa_ray.study.grid import Study

if TYPE_CHECKING:
    from typing import TypeAlias

    from aa_ray.report.results import Results
    from aa_ray.report.tables import Table

    TableMaker: TypeAlias = Callable[[Results], Table]


def main(
    description: str,
    methods: Sequence[str],
    make_table: TableMaker,
    arguments: Sequence[str],
    backbone: str = PAPER_BACKBONE,
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Run a study from its command line and print its table; returns the exit status.

    0: the table is complete, or nothing had to be run. 1: some trials failed. 2: wrong usage.

    Args:
        description: description of the study for ``--help``.
        methods: the study's methods; ``--methods`` selects among them.
        make_table: the study's results -> its table.
        arguments: the command line, without the program's name.
        backbone: backbone of all presets except demo.
        adapt: changes the study that the options describe, for example by adding variants.
    """
    parser = options.study_parser(description, methods)

    def work() -> int:
        # Errors that suggest commands read the arguments.
        parsed = parser.parse_args(arguments, argparse.Namespace(arguments=arguments))
        if parsed.gpus is not None and not parsed.plan:
            raise UsageError(
                "--gpus is only for --plan; a study uses the GPUs of --address or this machine"
            )
        study = adapt(study_from(parsed, methods, backbone))
        from aa_ray.commands import execution

        return execution.run(parsed, study, make_table)

    return guarded(parser.prog, arguments, work)


def one(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; returns the exit status.

    Args:
        parser: its subparsers set ``work``, which takes the options and returns the exit status.
        arguments: the command line, without the program's name.
    """

    def work() -> int:
        parsed = parser.parse_args(arguments)
        return int(parsed.work(parsed))

    return guarded(parser.prog, arguments, work)


def guarded(program: str, arguments: Sequence[str], work: Callable[[], int]) -> int:
    """Do the work; turn wrong usage, a full disk or Ctrl-C into one line and an exit status."""
    quiet_libraries()
    terminated: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)

    def terminate(*_: object) -> NoReturn:
        terminated.append(True)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    try:
        status = work()
        sys.stdout.flush()  # here, where a closed pipe can still be handled
        return status
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe. Nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (UsageError, StorageError, SweepError) as error:
        if "--debug" in arguments:
            raise
        print(f"{program}: {with_short_words(one_line(error))}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED_WORK
    except Exception as error:
        if "--debug" in arguments:
            raise
        if (known := _explained(error)) is not None:
            print(f"{program}: {known}", file=sys.stderr)
            return FAILED_WORK
        print(
            f"{program}: unexpected {type(error).__name__}: {one_line(error)}; finished trials are "
            "kept. Please report it with what --debug shows",
            file=sys.stderr,
        )
        return FAILED_WORK
    except KeyboardInterrupt:
        print("\nstopped; finished trials are kept, the same command continues", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _explained(error: Exception) -> str | None:
    """The message for an error of the output or the disk; None for all other errors."""
    if isinstance(error, UnicodeEncodeError):
        return (
            f"the output's encoding, {error.encoding}, lacks {error.object[error.start]!a}; set "
            "PYTHONIOENCODING=utf-8"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        # Nothing must be flushed to a full device at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return (
            f"cannot write {error.filename or 'the output'} ({error.strerror}); free some space. "
            "Finished trials are kept"
        )
    return None
