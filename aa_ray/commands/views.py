"""The command lines for tables and figures from existing rows; they run no trials.

Only what parsing needs is imported at the top, so that ``--help`` and wrong options answer
immediately. The functions below import the rest when they need it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aa_ray.commands import first, options, printing, values
from aa_ray.commands.from_options import study_from
from aa_ray.commands.parser import Parser
from aa_ray.commands.presets import PAPER_BACKBONE
from aa_ray.commands.study import guarded
from aa_ray.study.grid import Study

if TYPE_CHECKING:
    from typing import TypeAlias

    from aa_ray.report.drawing import Drawing
    from aa_ray.report.results import Results
    from aa_ray.report.tables import Table

    Policies: TypeAlias = dict[str, Results]


def show(
    description: str,
    methods: Sequence[str],
    make_table: Callable[[Results], Table],
    arguments: Sequence[str],
) -> int:
    """Print a table made from existing rows; returns the exit status.

    Args:
        description: description of the study for ``--help``.
        methods: the study's methods; ``--methods`` selects among them.
        make_table: the study's results -> the table.
        arguments: the command line, without the program's name.
    """
    parser = _table_parser(description, methods)

    def work(parsed: argparse.Namespace) -> int:
        return _print(make_table(_results(parsed, methods)), parsed)

    return _run(parser, arguments, work)


def judge(
    description: str,
    methods: Sequence[str],
    make_table: Callable[[Results, float], Table],
    arguments: Sequence[str],
) -> int:
    """Print a table whose verdicts depend on a margin; returns the exit status.

    Args:
        make_table: (the study's results, the margin in points) -> the table.
        description, methods, arguments: as in ``show``.
    """
    parser = _table_parser(description, methods)
    options.add_margin(parser)

    def work(parsed: argparse.Namespace) -> int:
        return _print(make_table(_results(parsed, methods), parsed.margin), parsed)

    return _run(parser, arguments, work)


def compare(
    description: str,
    methods: Sequence[str],
    make_table: Callable[[Policies, float], Table],
    arguments: Sequence[str],
) -> int:
    """Print a table of a study under two policies: the released rates, and those of ``--rates``.

    Args:
        make_table: (policy -> the study's results under it, the margin in points) -> the table.
            There is one policy if both are the same rates.
        description, methods, arguments: as in ``show``.
    """
    parser = _table_parser(description, methods)
    options.add_margin(parser)

    def work(parsed: argparse.Namespace) -> int:
        return _print(make_table(_policies(parsed, methods), parsed.margin), parsed)

    return _run(parser, arguments, work)


def contrast(
    description: str,
    methods: Sequence[str],
    names: Sequence[str],
    make_table: Callable[[Policies, tuple[str, ...], float, float], Table],
    arguments: Sequence[str],
) -> int:
    """Print a table of contrasts, as ``compare`` does; returns the exit status.

    Args:
        names: names of the contrasts, for ``--only``.
        make_table: (policies, the selected contrasts, the level, the margin) -> the table.
        description, methods, arguments: as in ``show``.
    """
    parser = _table_parser(description, methods)
    options.add_margin(parser)
    add = parser.add_argument
    add(
        "--only", nargs="+", default=(), metavar="CONTRAST",
        help=f"only test these: {', '.join(names)}; released:{names[-2]} is that of one policy",
    )  # fmt: skip
    add(
        "--alpha", type=values.share("--alpha"), default=0.05, metavar="A",
        help="probability of a wrong verdict among those tested (default: 0.05)",
    )  # fmt: skip

    def work(parsed: argparse.Namespace) -> int:
        for name in parsed.only:
            values.check_name("contrast", name.rpartition(":")[2], names)
        policies = _policies(parsed, methods)
        table = make_table(policies, tuple(parsed.only), parsed.alpha, parsed.margin)
        return _print(table, parsed)

    return _run(parser, arguments, work)


def draw(
    description: str,
    methods: Sequence[str],
    make_drawings: Callable[[Results], Iterable[Drawing]],
    arguments: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
) -> int:
    """Draw a study's figures from existing rows; returns the exit status.

    Args:
        make_drawings: the study's results -> its figures.
        adapt: changes the study that the options describe, for example by adding variants.
        description, methods, arguments: as in ``show``.
    """
    parser = _drawing_parser(description, methods)

    def work(parsed: argparse.Namespace) -> int:
        return _save(make_drawings(_results(parsed, methods, adapt)), parsed)

    return _run(parser, arguments, work)


def draw_policies(
    description: str,
    methods: Sequence[str],
    make_drawings: Callable[[Policies], Iterable[Drawing]],
    arguments: Sequence[str],
) -> int:
    """Draw figures of a study under two policies; returns the exit status.

    Args:
        make_drawings: (policy -> the study's results under it) -> the figures. There is one policy
            if both are the same rates, or only one has rows.
        description, methods, arguments: as in ``show``.
    """
    parser = _drawing_parser(description, methods)

    def work(parsed: argparse.Namespace) -> int:
        return _save(make_drawings(_policies(parsed, methods, either=True)), parsed)

    return _run(parser, arguments, work)


def judge_policies(
    description: str,
    methods: Sequence[str],
    make_drawings: Callable[[Policies, float], Iterable[Drawing]],
    arguments: Sequence[str],
) -> int:
    """Draw figures of a study under two policies, with a margin; returns the exit status.

    Args:
        make_drawings: (policies as in ``draw_policies``, the margin in points) -> the figures.
        description, methods, arguments: as in ``show``.
    """
    parser = _drawing_parser(description, methods)
    options.add_margin(parser)

    def work(parsed: argparse.Namespace) -> int:
        return _save(make_drawings(_policies(parsed, methods, either=True), parsed.margin), parsed)

    return _run(parser, arguments, work)


def _run(
    parser: Parser, arguments: Sequence[str], work: Callable[[argparse.Namespace], int]
) -> int:
    """Parse the arguments and do the work; returns the exit status."""
    parsed = argparse.Namespace(arguments=arguments)  # read by errors that suggest commands
    return guarded(parser.prog, arguments, lambda: work(parser.parse_args(arguments, parsed)))


def _table_parser(description: str, methods: Sequence[str]) -> Parser:
    parser = options.rows_parser(description, methods)
    options.add_format(parser)
    return parser


def _drawing_parser(description: str, methods: Sequence[str]) -> Parser:
    parser = options.rows_parser(description, methods)
    parser.add_argument(
        "--output",
        default="figures",
        metavar="DIR",
        help="folder for the figures (default: figures)",
    )
    return parser


def _print(table: Table, parsed: argparse.Namespace) -> int:
    printing.print_table(table, parsed)
    return 0


def _save(drawings: Iterable[Drawing], parsed: argparse.Namespace) -> int:
    from aa_ray.report.drawing import missing_text, save

    for drawing in drawings:
        for path in save(drawing, Path(parsed.output)):
            print(path)
        if drawing.missing:
            print(f"missing in {drawing.name}: {missing_text(drawing.missing)}", file=sys.stderr)
    return 0


def _results(
    parsed: argparse.Namespace,
    methods: Sequence[str],
    adapt: Callable[[Study], Study] = lambda study: study,
) -> Results:
    """The results of the study that the options describe."""
    study = adapt(study_from(parsed, methods, PAPER_BACKBONE))
    from aa_ray.commands import execution

    of_study = execution.several({"": study}, parsed.results)[""]
    if not of_study.used:
        raise first.no_rows(parsed, methods)
    return of_study


def policies(parsed: argparse.Namespace, methods: Sequence[str]) -> dict[str, Study]:
    """Name -> the study under it: the released rates, and those of the options if they differ."""
    studies: dict[str, Study] = {}
    for rates in ("released", parsed.rates):
        under = argparse.Namespace(**{**vars(parsed), "rates": rates})
        study = study_from(under, methods, PAPER_BACKBONE)
        if study not in studies.values():
            studies[str(rates)] = study
    return studies


def _policies(parsed: argparse.Namespace, methods: Sequence[str], either: bool = False) -> Policies:
    """The results under the released rates and under those of the options.

    Args:
        either: whether rows under one of the two policies are enough.
    """
    studies = policies(parsed, methods)
    from aa_ray.commands import execution

    results = execution.several(studies, parsed.results)
    for name in list(results) if either and any(r.used for r in results.values()) else ():
        if not results[name].used:
            del results[name]
    without = [name for name, of_policy in results.items() if not of_policy.used]
    if without:
        raise first.no_rows(parsed, methods, () if either else without)
    return results
