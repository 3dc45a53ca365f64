"""The paper's claims C1-C13, judged from existing rows. Runs nothing.

For each claim it prints the effect with its 95 % interval (paired over task, regime and seed), the
number of learned cells, the tests (adjusted for the number of claims), the verdict, and how many
seeds would settle an open claim. cells.py shows the same comparisons cell by cell. First run
table2.py, table3.py and table4.py with the same options.

    python studies/claims.py
    python studies/claims.py --data DIR --tasks cola rte --regimes 100 500 \\
        --format markdown
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import claims

if __name__ == "__main__":
    sys.exit(views.judge(__doc__ or "", architectures.ALL_TABLES, claims.table, sys.argv[1:]))
