"""Do the comparisons behind the claims depend on the learning rates? Runs nothing.

For each comparison of two methods it prints the difference under the released rates, under those of
--rates, and the difference between the two, paired by seed. First run table2.py, table3.py and
table4.py with the same options, once with --rates released and once with the other rates.

    python studies/policies.py
    python studies/policies.py --rates tuned --data DIR --tasks sst2 stsb \\
        --regimes 500
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import interaction

if __name__ == "__main__":
    sys.exit(
        views.compare(__doc__ or "", architectures.ALL_TABLES, interaction.table, sys.argv[1:])
    )
