"""``python -m aa_ray``: one trial by hand, its adapter to take away, and a tidy results folder."""

import sys

from aa_ray.commands import compact, options, study, trial


def main() -> int:
    """Run the command that the command line names; returns the exit status."""
    parser = options.Parser(
        prog="python -m aa_ray",
        description="One trial at a time, and the results folder. Whole studies are run by the "
        "scripts in studies/.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    trial.add_commands(commands)
    compact.add_command(commands)
    return study.one(parser, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
