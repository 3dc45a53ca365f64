"""``python -m aa_ray``: one trial by hand, its adapter to take away, and a tidy results folder."""

import sys

from aa_ray.commands import study, subcommands


def main() -> int:
    """Run the command that the command line names; returns the exit status."""
    return study.one(subcommands.parser(), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
