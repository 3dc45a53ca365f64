"""The parser of every command, and what all of them take: ``--version`` and ``--debug``."""

import argparse
import sys
from typing import Any, NoReturn

import aa_ray
from aa_ray.errors import WRONG_USAGE
from aa_ray.store import provenance

Formatter = argparse.RawDescriptionHelpFormatter  # keeps the line breaks of a docstring


class Parser(argparse.ArgumentParser):
    """The standard parser, with errors on one line."""

    def error(self, message: str) -> NoReturn:
        """One line instead of the whole usage."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


class _Version(argparse.Action):
    """Prints version and commit, and ends. Git is asked only now, not whenever there is help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        commit, changed = provenance.commit()
        where = f", commit {commit}" + " with changes" * bool(changed) if commit else ""
        print(f"aa-ray {aa_ray.__version__}{where}")
        parser.exit()


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show version and commit, and exit"
    )


def add_debug(group: Any) -> None:
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
