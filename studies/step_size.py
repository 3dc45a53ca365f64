"""Does AA-focused win by architecture or by step size? (an open question of the paper)

It sweeps over learning rates of adapter weights, rational coefficients and switches for Baseline,
Rational-only, AA, AA-focused^sim and Baseline^N. Each method gets the rates that are best for it on
the development sets. The table compares the methods at the released rates and at their own best
rates, and names the cause of the difference. Trials that a rate does not affect are shared.

What it costs: 65 training runs per task, seed and regime; with the default preset, demo, about an
hour on two CPU cores.

    python studies/step_size.py
    python studies/step_size.py --data DIR --tasks sst2 --regimes 500 \\
        --seeds 42 92 111 245 651
"""

import sys

from aa_ray.commands import study
from aa_ray.core import architectures
from aa_ray.report import step_size

if __name__ == "__main__":
    sys.exit(
        study.main(
            __doc__ or "",
            architectures.STEP_SIZE,
            step_size.table,
            sys.argv[1:],
            adapt=step_size.with_ladder,
        )
    )
