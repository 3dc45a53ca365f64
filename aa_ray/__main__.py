"""``python -m aa_ray``: the same as ``aa-ray``, where that is not installed as a command."""

import sys

from aa_ray.commands import cli

if __name__ == "__main__":
    sys.exit(cli.main(program="python -m aa_ray"))
