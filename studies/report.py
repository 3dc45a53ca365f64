"""The whole study on one HTML page, from existing rows. Runs nothing.

The page has Tables 1 to 4 with intervals, the claims with their verdicts, figures, the learning
curve of each training run, what failed or is missing, and where the rows come from. It is one
self-contained file that you can mail, print and keep. First run table2.py, table3.py and table4.py
with the same options; the page shows the rows that exist.

    python studies/report.py
    python studies/report.py --data DIR --tasks cola rte --regimes 100 500 \\
        --output cola-rte.html
"""

import sys

from aa_ray.commands import report
from aa_ray.core import architectures
from aa_ray.report import page

if __name__ == "__main__":
    sys.exit(report.report(__doc__ or "", architectures.ALL_TABLES, page.page, sys.argv[1:]))
