"""``python -m aa_ray``: one trial by hand, and its adapter to take away."""

import sys

from aa_ray import cli, options, run


def main() -> int:
    """Run the command that the command line names; returns the exit status."""
    parser = options.Parser(
        prog="python -m aa_ray",
        description="One trial at a time. Whole studies are run by the scripts in studies/.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run.add_commands(commands)
    return cli.one(parser, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
