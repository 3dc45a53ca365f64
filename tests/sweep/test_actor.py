"""aa_ray.sweep.actor: starting one is quick. tests/test_table2.py runs actors in whole sweeps."""

import subprocess
import sys

from aa_ray.sweep import tune
from aa_ray.sweep.actor import TrialActor


def test_an_actor_starts_without_torch() -> None:
    actor = tune.tune.with_resources(TrialActor, {"cpu": 1, "gpu": 0})
    start = (
        "import sys; from ray import cloudpickle\n"
        "actor = cloudpickle.load(sys.stdin.buffer)\n"
        "actor = actor.__new__(actor)\n"
        "actor.reset_config({'setting': '{}', 'job': '{\"trials\": []}'})\n"
        "print(*(m for m in ('torch', 'transformers', 'aa_ray') if m in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", start],
        input=tune.ray.cloudpickle.dumps(actor), capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, b"\n"), ran.stderr.decode()
