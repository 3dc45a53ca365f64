"""aa_ray.core.registration: AdapterHub knows rationals and head, whichever package comes first."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adapters import BertAdapterModel, SeqBnConfig
from transformers import BertConfig

from aa_ray.core import heads
from aa_ray.core.coefficients import RATIONALS, activation_name
from aa_ray.core.rational import Rational

CONFIG = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}

FIRST = {
    "aa_ray": "import aa_ray",
    "adapters": "import adapters",
    "transformers": "from transformers import BertConfig, BertModel",
    "activations": "from transformers.activations import ACT2FN",
    "heads": "from adapters.heads import ClassificationHead",
}
ORDERS = [
    *itertools.permutations(("aa_ray", "adapters", "transformers")),
    ("aa_ray", "activations"),
    ("activations", "aa_ray", "heads"),
    ("heads", "aa_ray"),
]

# What a user does who has an exported adapter with rational and head.
LOAD = f"""
import sys
from adapters import BertAdapterModel
from transformers import BertConfig
model = BertAdapterModel(BertConfig(**{CONFIG!r}))
model.load_adapter(sys.argv[1])
[rational] = [m for m in model.modules() if type(m).__name__ == "Rational"]
print(rational.numerator[0].item(), *(type(head).__name__ for head in model.heads.values()))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter with a rational whose a0 is 0.25, and a mean-pooling head."""
    folder = tmp_path_factory.mktemp("adapter")
    model = BertAdapterModel(BertConfig(**CONFIG))
    model.add_adapter("a", config=SeqBnConfig(non_linearity="rational:one", reduction_factor=16))
    model.register_custom_head(heads.HEAD_TYPE, heads.MeanPoolingHead)
    model.add_custom_head(heads.HEAD_TYPE, "a", num_labels=2, layers=1)
    [rational] = [m for m in model.modules() if isinstance(m, Rational)]
    with torch.no_grad():
        rational.numerator[0] = 0.25
    model.save_adapter(str(folder), "a")
    return folder


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_an_adapter_loads_in_every_order_of_imports(saved: Path, order: tuple[str, ...]) -> None:
    code = "\n".join([FIRST[name] for name in order]) + LOAD
    ran = run(code, str(saved))
    assert (ran.returncode, ran.stdout) == (0, "0.25 MeanPoolingHead\n"), ran.stderr


def test_without_aa_ray_it_does_not_load(saved: Path) -> None:
    ran = run(LOAD, str(saved))
    assert ran.returncode != 0 and "rational:one not found in ACT2FN" in ran.stderr


def test_a_reloaded_table_has_them_too() -> None:
    code = (
        "import aa_ray, importlib, transformers.activations as a; importlib.reload(a); "
        "print(type(a.ACT2FN['rational:relu:b']).__name__, a.__spec__.loader is a.__loader__, "
        "type(a.__loader__).__name__)"
    )
    ran = run(code)
    assert ran.stdout == "Rational True SourceFileLoader\n", ran.stderr


def test_a_process_registers_once() -> None:
    code = (
        "import aa_ray, sys; from aa_ray.core import registration; registration.register(); "
        "print(sum(type(f).__module__ == registration.__name__ for f in sys.meta_path))"
    )
    assert run(code).stdout == "1\n"


def test_every_name_makes_its_rational() -> None:
    from transformers.activations import ACT2FN

    for name, settings in RATIONALS.items():
        rational = ACT2FN[name]
        assert isinstance(rational, Rational) and activation_name(*settings) == name
        assert (rational.init, rational.version, rational.gradient) == settings
    assert len(RATIONALS) == 7 * 2 * 2


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
