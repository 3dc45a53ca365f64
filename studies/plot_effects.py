"""Differences between methods, task by task, as forest plots.

It draws one figure for the contrasts of docs/protocol.md (see contrasts.py), and one for the
comparisons behind the paper's claims (see cells.py), under the released rates and under those of
--rates if these have rows. Each line is a task and regime with its 95 % interval. It is hollow if
neither method is above chance. The grey band is the margin. Draws existing rows, runs nothing.

    python studies/table2.py && python studies/plot_effects.py
    python studies/plot_effects.py --rates tuned --last-n 3 --data DIR \\
        --tasks sst2 --regimes 500
"""

import sys
from collections.abc import Iterable, Mapping

from aa_ray.commands import views
from aa_ray.core import architectures
from aa_ray.report.drawing import Drawing
from aa_ray.report.figures import effects
from aa_ray.report.results import Results


def drawings(policies: Mapping[str, Results], margin: float) -> Iterable[Drawing]:
    return [
        *effects.contrast_effects(policies, margin),
        *effects.claim_effects(policies, margin),
    ]


if __name__ == "__main__":
    sys.exit(views.judge_policies(__doc__ or "", architectures.EVERY_STUDY, drawings, sys.argv[1:]))
