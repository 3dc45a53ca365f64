"""The command line that every study shares: run what is left, print the table.

Only what parsing needs is imported here, so that ``--help`` and wrong options answer at once. The
functions below import what does the work when it is due.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aa_ray.commands import options
from aa_ray.commands.from_options import study_from
from aa_ray.commands.presets import PAPER_BACKBONE
from aa_ray.core.logs import quiet_libraries
from aa_ray.errors import (
    FAILED_WORK,
    INTERRUPTED,
    TERMINATED,
    WRONG_USAGE,
    StorageError,
    SweepError,
    UsageError,
)
from aa_ray.study.grid import Study

if TYPE_CHECKING:
    from typing import TypeAlias

    from aa_ray.report.drawing import Drawing
    from aa_ray.report.results import Results
    from aa_ray.report.tables import Table

    TableMaker: TypeAlias = Callable[[Results], Table]
    DrawingMaker: TypeAlias = Callable[[Results], Iterable[Drawing]]


def main(
    description: str,
    methods: Sequence[str],
    make_table: TableMaker,
    arguments: Sequence[str],
    backbone: str = PAPER_BACKBONE,
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Run a study from its command line and print its table; returns the exit status.

    0: the table is complete, or nothing was to be run. 1: some trials failed. 2: wrong usage.

    Args:
        description: of the study, for ``--help``.
        methods: the study's methods; ``--methods`` picks among them.
        make_table: the study's results -> its table.
        arguments: the command line, without the program's name.
        backbone: of every preset but demo.
        adapt: what makes the study of the one that the options describe, such as variants.
    """
    parser = options.study_parser(description, methods)

    def work() -> int:
        parsed = parser.parse_args(arguments)
        if parsed.gpus is not None and not parsed.plan:
            raise UsageError(
                "--gpus is for --plan; a study runs on what --address or this machine has"
            )
        study = adapt(study_from(parsed, methods, backbone))
        from aa_ray.commands import execution

        return execution.run(parsed, study, make_table)

    return guarded(parser.prog, arguments, work)


def draw(
    description: str,
    methods: Sequence[str],
    make_drawings: DrawingMaker,
    arguments: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Draw a study's figures from existing rows; returns the exit status.

    Args:
        make_drawings: the study's results -> its figures.
        description, methods, arguments, adapt: as in ``main``.
    """
    parser = options.rows_parser(description, methods)
    parser.add_argument(
        "--output",
        default="figures",
        metavar="DIR",
        help="folder for the figures (default: figures)",
    )

    def work() -> int:
        parsed = parser.parse_args(arguments)
        results = _results(parsed, methods, adapt)
        from aa_ray.report.drawing import save

        for drawing in make_drawings(results):
            for path in save(drawing, Path(parsed.output)):
                print(path)
            for name in drawing.missing:
                print(f"missing in {drawing.name}: {name}", file=sys.stderr)
        return 0

    return guarded(parser.prog, arguments, work)


def show(
    description: str,
    methods: Sequence[str],
    make_table: TableMaker,
    arguments: Sequence[str],
) -> int:
    """Print a table made from existing rows; returns the exit status.

    Args:
        make_table: the study's results -> the table.
        description, methods, arguments: as in ``main``.
    """
    parser = options.rows_parser(description, methods)
    options.add_format(parser)

    def work() -> int:
        parsed = parser.parse_args(arguments)
        table = make_table(_results(parsed, methods))
        print(table.render(parsed.format), end="")
        return 0

    return guarded(parser.prog, arguments, work)


def compare(
    description: str,
    methods: Sequence[str],
    make_table: Callable[[dict[str, Results]], Table],
    arguments: Sequence[str],
) -> int:
    """Print a table of a study under two policies: the released rates, and those of ``--rates``.

    Args:
        make_table: (policy -> the study's results under it) -> the table. One policy if both
            are the same rates.
        description, methods, arguments: as in ``main``.
    """
    parser = options.rows_parser(description, methods)
    options.add_format(parser)

    def work() -> int:
        parsed = parser.parse_args(arguments)
        policies: dict[str, Results] = {}
        for rates in ("released", parsed.rates):
            under = argparse.Namespace(**{**vars(parsed), "rates": rates})
            results = _results(under, methods)
            if all(results.study != other.study for other in policies.values()):
                policies[str(rates)] = results
        print(make_table(policies).render(parsed.format), end="")
        return 0

    return guarded(parser.prog, arguments, work)


def report(
    description: str,
    methods: Sequence[str],
    make_page: Callable[[Results, Sequence[str]], str],
    arguments: Sequence[str],
) -> int:
    """Write the HTML report, even if there are no rows yet; returns the exit status.

    Args:
        make_page: (the study's results, the options that describe it) -> the page.
        description, methods, arguments: as in ``main``.
    """
    parser = options.rows_parser(description, methods)
    parser.add_argument(
        "--output", default="report.html", metavar="FILE", help="the page (default: report.html)"
    )

    def work() -> int:
        parsed = parser.parse_args(arguments)
        results = _results(parsed, methods, may_be_empty=True)
        path = Path(parsed.output)
        _write(path, make_page(results, _describing(arguments)))
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return 0

    return guarded(parser.prog, arguments, work)


def _describing(arguments: Sequence[str]) -> list[str]:
    """The options that describe the study: all but those of the page, and but for the methods,
    which the results know."""
    others = argparse.ArgumentParser(add_help=False)
    others.add_argument("--output")
    others.add_argument("--methods", nargs="+")
    others.add_argument("--debug", action="store_true")
    return others.parse_known_args(arguments)[1]


def _write(path: Path, text: str) -> None:
    """Write the file of ``--output``.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"--output {path}: cannot be written ({error.strerror}); give another file"
        ) from error


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


def _results(
    parsed: argparse.Namespace,
    methods: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
    may_be_empty: bool = False,
) -> Results:
    """The results of the study that the options describe."""
    study = adapt(study_from(parsed, methods, PAPER_BACKBONE))
    from aa_ray.commands import execution

    return execution.results(study, parsed.results, may_be_empty)


def guarded(program: str, arguments: Sequence[str], work: Callable[[], int]) -> int:
    """Do the work; wrong usage, a full disk and interruption become one line and an exit status."""
    quiet_libraries()
    terminated: list[bool] = []
    before = signal.getsignal(signal.SIGTERM)

    def terminate(*_: object) -> NoReturn:
        terminated.append(True)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    try:
        return work()
    except (UsageError, StorageError, SweepError) as error:
        if "--debug" in arguments:
            raise
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else FAILED_WORK
    except KeyboardInterrupt:
        print("\nstopped; finished trials are kept, the same command goes on", file=sys.stderr)
        return TERMINATED if terminated else INTERRUPTED
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
