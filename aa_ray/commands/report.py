"""The command line of the HTML report, and the further studies that it shows.

Only what parsing needs is imported at the top, so that ``--help`` and wrong options answer
immediately. The functions below import the rest when they need it.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aa_ray.commands import first, options
from aa_ray.commands.from_options import study_from
from aa_ray.commands.presets import PAPER_BACKBONE
from aa_ray.commands.study import guarded
from aa_ray.core import architectures
from aa_ray.errors import UsageError
from aa_ray.study.grid import UNVARIED, Study

if TYPE_CHECKING:
    from aa_ray.report.beside import Beside
    from aa_ray.report.results import Results

# Names of the further studies. No policy can have such a name.
_LADDER, _FIDELITY = "/ladder", "/fidelity"


def report(
    description: str,
    methods: Sequence[str],
    make_page: Callable[[Results, Sequence[str], Beside, float], str],
    arguments: Sequence[str],
) -> int:
    """Write the HTML report, even if there are no rows yet; returns the exit status.

    Args:
        make_page: (the study's results, the options that describe it, further studies with rows,
            the margin in points) -> the page.
        description, methods, arguments: as in ``show``.
    """
    parser = options.rows_parser(description, methods)
    options.add_margin(parser)
    parser.add_argument(
        "--output", default="report.html", metavar="FILE", help="the page (default: report.html)"
    )
    parser.add_argument(
        "--against", metavar="OTHER",
        help="compare with the rows in the folder or URI OTHER; or with other options, such as "
        "'--results OTHER --rates released'",
    )  # fmt: skip

    def work() -> int:
        parsed = parser.parse_args(arguments)
        study = study_from(parsed, methods, PAPER_BACKBONE)
        others = _beside(parsed)
        from aa_ray.commands import execution

        results = execution.several({"": study} | others, parsed.results)
        path = Path(parsed.output)
        against = _against(parser, arguments, parsed, methods)
        beside = dataclasses.replace(_with_rows(results), against=against)
        _write(path, make_page(results[""], _describing(arguments), beside, parsed.margin))
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return 0

    return guarded(parser.prog, arguments, work)


def _describing(arguments: Sequence[str]) -> list[str]:
    """The options that describe the study.

    Options of the page and of verdicts are left out, and the methods too: the results know them.
    """
    others = argparse.ArgumentParser(add_help=False)
    others.add_argument("--output")
    others.add_argument("--against")
    others.add_argument("--margin")
    others.add_argument("--methods", nargs="+")
    others.add_argument("--debug", action="store_true")
    return others.parse_known_args(arguments)[1]


def _against(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    parsed: argparse.Namespace,
    methods: Sequence[str],
) -> tuple[str, Results] | None:
    """The name and the results of ``--against``; None without that option.

    Raises:
        UsageError: it names no rows of this study.
    """
    if parsed.against is None:
        return None
    from aa_ray.commands import execution

    changed = shlex.split(parsed.against)
    if not parsed.against.startswith("--"):
        changed = ["--results", parsed.against]
    try:
        both = [*arguments, *changed]
        other = parser.parse_args(both, argparse.Namespace(arguments=both))
        study = study_from(other, methods, PAPER_BACKBONE)
        there = execution.several({"": study}, other.results)[""]
        if not there.used:
            raise first.no_rows(other, methods)
    except UsageError as error:
        raise UsageError(f"--against {parsed.against}: {error}") from error
    return parsed.against, there


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
            f"--output {path}: cannot be written ({error.strerror}); use another file"
        ) from error


def _beside(parsed: argparse.Namespace) -> dict[str, Study]:
    """Name -> study: each policy, the sweep over learning rates, and the paper's deviations."""
    from aa_ray.report import fidelity, step_size

    found: dict[str, Study] = {}
    for rates in dict.fromkeys(("released", parsed.rates)):
        study = _restricted(parsed, architectures.EVERY_STUDY, rates)
        if study is not None and study not in found.values():
            found[str(rates)] = study
    one = parsed.rates if parsed.rates != "tuned" else "released"  # the sweep has its own rates
    ladder = _restricted(parsed, architectures.STEP_SIZE, one)
    differences = _restricted(parsed, architectures.FIDELITY, parsed.rates)
    if ladder is not None and ladder.variants == UNVARIED:
        found[_LADDER] = step_size.with_ladder(ladder)
    if differences is not None and differences.variants == UNVARIED:
        found[_FIDELITY] = fidelity.with_variants(differences)
    return found


def _restricted(
    parsed: argparse.Namespace, methods: Sequence[str], rates: str | float
) -> Study | None:
    """The study with those of the methods that the options select; None without any."""
    asked = parsed.methods and [m for m in parsed.methods if m not in architectures.METHODS
                                or m in methods]  # fmt: skip
    if asked == []:
        return None
    under = argparse.Namespace(**{**vars(parsed), "rates": rates, "methods": asked})
    return study_from(under, methods, PAPER_BACKBONE)


def _with_rows(results: Mapping[str, Results]) -> Beside:
    """The results of ``_beside`` that have rows."""
    from aa_ray.report import beside

    known = (_LADDER, _FIDELITY, "")
    named = {name: of_study for name, of_study in results.items() if name not in known}
    return beside.with_rows(named, results.get(_LADDER), results.get(_FIDELITY))
