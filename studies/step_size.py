"""Does AA-focused win by architecture or by step size? (an open question of the paper)

Baseline, Rational-only, AA, AA-focused^sim and Baseline^N over a ladder of learning rates for
adapter weights, rational coefficients and switches. Each method gets the rates that are best for it
on the development sets; the table compares the methods at the released rates and at their own,
and says what the difference is owed to. Trials on which a rate cannot act are shared.

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
