"""``python -m aa_ray compact``: the rows of finished trials, put together into few files."""

import argparse
from typing import Any

from aa_ray.commands import options
from aa_ray.store.rows import Store

COMPACT = """Put the rows of finished trials, one file each, together into few files.

Reading a folder of many thousand files takes minutes, on an object store more.
Nothing else changes, and studies may run meanwhile.

    python -m aa_ray compact --results s3://my-bucket/results
"""


def add_command(commands: Any) -> None:
    """Add ``compact`` to the subparsers."""
    parser = commands.add_parser(
        "compact",
        help="put the rows of a results folder into few files",
        description=COMPACT,
        formatter_class=options.Formatter,
    )
    options.add_results(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(work=_compact)


def _compact(given: argparse.Namespace) -> int:
    store = Store(given.results)
    moved = store.compact()
    print(f"{moved:,} trials put together in {store.uri}/compacted")
    return 0
