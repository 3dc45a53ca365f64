"""How does each difference between the paper and its released code affect the average score?

It runs the study with the defaults, and again with one setting changed at a time (D1 to D6 and D9,
see aa_ray/core/deviations.py). Trials that a setting does not affect are shared.

What it costs: the default preset, demo, takes about ten minutes on two CPU cores.

    python studies/fidelity.py
    python studies/fidelity.py --data DIR --tasks sst2 mrpc --regimes 500 \\
        --seeds 42 92 111
"""

import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import fidelity

if __name__ == "__main__":
    sys.exit(
        study.main(
            __doc__ or "",
            architectures.FIDELITY,
            fidelity.table,
            sys.argv[1:],
            adapt=fidelity.with_variants,
        )
    )
