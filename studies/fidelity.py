"""What each difference between the paper and its released code does to the average score.

Runs the study as it is, and again with one difference at a time turned the other way (D1 to D6 and
D9, see aa_ray/core/deviations.py). Trials on which a difference cannot act are shared.

What it costs: with the default preset, demo, about ten minutes on two CPU cores.

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
