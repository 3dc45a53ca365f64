"""``python -m aa_ray``: the same as ``aa-ray``, if that command is not on the path."""

import sys

from aa_ray.commands import cli


def main() -> int:
    """Run the command line and return the exit status."""
    return cli.main(program="python -m aa_ray")


if __name__ == "__main__":
    sys.exit(main())
