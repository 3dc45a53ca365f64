"""What each part of AA contributes, under the released rates and under those of --rates.

These are the primary contrasts of docs/protocol.md, from existing rows. Runs nothing. First run
controls.py with the same options, once with --rates released and once with the other rates.

    python studies/contrasts.py --rates tuned --last-n 3
    python studies/contrasts.py --rates tuned --last-n 3 --data DIR \\
        --tasks sst2 --regimes 500
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import contrasts

if __name__ == "__main__":
    sys.exit(
        views.contrast(
            __doc__ or "",
            architectures.CONTROLS,
            contrasts.NAMES,
            lambda policies, *look: contrasts.table(policies, contrasts.Look(*look)),
            sys.argv[1:],
        )
    )
