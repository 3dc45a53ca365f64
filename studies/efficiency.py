"""Claim C13: parameters, storage, training and inference time of AA-focused against Baseline.

Measures, side by side on this machine, the architectures that studies/table2.py found, for the
first of the tasks and regimes. Needs the rows of table2.py, run with the same options; takes a
minute.

    python studies/table2.py && python studies/efficiency.py
"""

import sys

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report import efficiency

if __name__ == "__main__":
    sys.exit(views.show(__doc__ or "", architectures.EFFICIENCY, efficiency.table, sys.argv[1:]))
