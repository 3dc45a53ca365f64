"""``python -m aa_ray``: the same as ``aa-ray``, where that is not installed as a command."""

import sys

from aa_ray.commands import cli


def main() -> int:
    """Run what the command line names; returns the exit status."""
    return cli.main(program="python -m aa_ray")


if __name__ == "__main__":
    sys.exit(main())
