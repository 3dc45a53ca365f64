"""``python -m aa_ray``: one trial by hand, its adapter to take away, and a tidy results folder."""

import argparse
import sys
from typing import Any

from aa_ray.commands import options, study, trial
from aa_ray.store.rows import Store

COMPACT = """Put the rows of finished trials, one file each, together into few files.

Reading a folder of many thousand files takes minutes, on an object store more.
Nothing else changes, and studies may run meanwhile.

    python -m aa_ray compact --results s3://my-bucket/results
"""


def main() -> int:
    """Run the command that the command line names; returns the exit status."""
    parser = options.Parser(
        prog="python -m aa_ray",
        description="One trial at a time, and the results folder. Whole studies are run by the "
        "scripts in studies/.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    trial.add_commands(commands)
    _add_compact(commands)
    return study.one(parser, sys.argv[1:])


def _add_compact(commands: Any) -> None:
    found = commands.add_parser(
        "compact",
        help="put the rows of a results folder into few files",
        description=COMPACT,
        formatter_class=options.Formatter,
    )
    options.add_results(found)
    found.add_argument("--debug", action="store_true", help="show the traceback of an error")
    found.set_defaults(work=_compact)


def _compact(given: argparse.Namespace) -> int:
    store = Store(given.results)
    moved = store.compact()
    print(f"{moved:,} trials put together in {store.uri}/compacted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
