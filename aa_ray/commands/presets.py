"""The settings of each preset of a study; options of the command line override them."""

from typing import Any

from aa_ray.core import architectures, backbones
from aa_ray.data import regimes, tasks

# The backbone of the paper's Tables 2 to 4.
PAPER_BACKBONE = "bert-large-uncased"

# ``seeds`` has groups of seeds, as parsed from ``--seeds``. A preset without a backbone uses that
# of the study: the paper's BERT-large, or BERT-base in Appendix A.
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "backbone": backbones.MINILM,
        "data": "embedded",
        "tasks": ("qqp", "sst2", "cola"),
        "regimes": ("100",),
        "seeds": (architectures.SEEDS[:2],),
    },
    "low-data": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": tuple(regime.name for regime in regimes.LOW_DATA),
        "seeds": (architectures.SEEDS,),
    },
    "full": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": ("full",),
        "seeds": (architectures.SEEDS,),
    },
    "paper": {
        "data": "hub",
        "tasks": tuple(tasks.TASKS),
        "regimes": tuple(regime.name for regime in regimes.PAPER),
        "seeds": (architectures.SEEDS,),
    },
}
