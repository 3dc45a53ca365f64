"""aa_ray.core.registration: AdapterHub knows rationals and head, whatever the order of imports."""

import ast
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import BertAdapterModel, SeqBnConfig
from transformers import BertConfig

from aa_ray.core import heads, registration
from aa_ray.core.adaptable_config import AdaptableConfig
from aa_ray.core.coefficients import RATIONALS, activation_name
from aa_ray.core.rational import Rational
from tests.fresh_process import run

CONFIG = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}

FIRST = {
    "aa_ray": "import aa_ray",
    "adapters": "import adapters",
    "transformers": "from transformers import BertConfig, BertModel",
    "activations": "from transformers.activations import ACT2FN",
    "heads": "from adapters.heads import ClassificationHead",
    "model": "from aa_ray.core import model",
}
ORDERS = [
    *itertools.permutations(("aa_ray", "adapters", "transformers")),
    ("aa_ray", "activations"),
    ("activations", "aa_ray", "heads"),
    ("heads", "aa_ray"),
    ("model",),
]

# How a user loads an exported adapter with rational and head.
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
    """Save an adapter with a rational whose a0 is 0.25 and a mean-pooling head."""
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


def test_an_adaptable_adapter_loads_whoever_is_imported_first(tmp_path: Path) -> None:
    model = BertAdapterModel(BertConfig(**CONFIG))
    model.add_adapter("a", config=AdaptableConfig(non_linearity="relu"))
    model.save_adapter(str(tmp_path), "a")
    load = LOAD[: LOAD.index("[rational]")]
    load += "print(*(type(m).__name__ for m in model.modules() if hasattr(m, 'switch')))"
    for order in (("aa_ray", "adapters"), ("heads", "aa_ray"), ("transformers", "aa_ray")):
        ran = run("\n".join([FIRST[name] for name in order]) + load, str(tmp_path))
        assert (ran.returncode, ran.stdout) == (0, "AdaptableAdapter\n"), ran.stderr


def source(function: Any) -> str:
    """Return AdapterHub's source of a function, without our wrapper."""
    module = importlib.util.find_spec(function[0])
    assert module is not None and module.origin is not None
    tree = ast.parse(Path(module.origin).read_text("utf-8"))
    body: list[ast.stmt] = tree.body
    for name in function[1].split("."):
        [node] = [n for n in body if getattr(n, "name", None) == name]
        assert isinstance(node, (ast.ClassDef, ast.FunctionDef))
        body = node.body
    return ast.unparse(node)


BOTTLENECK = "adapters.methods.bottleneck"
CONFIGURATION = "adapters.configuration.adapter_config"


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        # The class of a saved configuration comes from a table that cannot be extended.
        (
            (CONFIGURATION, "AdapterConfig._get_config_class"),
            ["config_dict.get('architecture', None)", "arch_to_config[architecture]"],
        ),
        ((CONFIGURATION, "AdapterConfig.load"), ["cls._get_config_class(config_dict)"]),
        ((CONFIGURATION, "ConfigUnion.from_dict"), ["cls._get_config_class(c)"]),
        # The class of the module is hard-coded, and our replacement takes its arguments.
        (
            (BOTTLENECK, "BottleneckLayer.add_adapter"),
            [
                "def add_adapter(self, adapter_name: str, layer_idx: int) -> bool:",
                "self.layer_idx = layer_idx",
                "adapter_class = Adapter",
                "if self.is_layer_hooked:\n        adapter.original_ln_after = False",
                "self.adapters[adapter_name] = adapter",
            ],
        ),
        # Every new and every loaded adapter passes through ``add_adapter`` ...
        (
            ("adapters.model_mixin", "ModelAdaptersMixin._add_adapter_weights"),
            ["layer.add_adapter(adapter_name, i)"],
        ),
        (
            ("adapters.methods.adapter_layer_base", "AdapterLayerBase.average_adapter"),
            ["self.add_adapter(adapter_name, self.layer_idx)"],
        ),
        # ... and is removed on a ValueError.
        (
            ("adapters.model_mixin", "ModelAdaptersMixin.add_adapter"),
            ["except ValueError as ex:\n        self.delete_adapter(adapter_name)"],
        ),
        # Every forward pass with an adapter goes through ``compose``.
        (
            (BOTTLENECK, "BottleneckLayer.bottleneck_layer_forward"),
            ["state = self.compose(adapter_setup, state)"],
        ),
        # Fuse uses the bottleneck's third result, not the mixture.
        (
            (BOTTLENECK, "BottleneckLayer.compose_single"),
            ["residual_input=state.adapter_residual", "layer_output[0], layer_output[2]"],
        ),
        # AdapterHub recognises a bottleneck by a configuration without an architecture.
        (
            ("adapters.interface", "AdapterMethod.get_from_config"),
            ["if config.architecture is None"],
        ),
        # The type of a head comes from a list of the model's class or from the model itself.
        (
            ("adapters.heads.model_mixin", "ModelWithFlexibleHeadsAdaptersMixin"),
            ["def add_prediction_head_from_config(self, head_name: str, config: dict"],
        ),
        # The activation has two names.
        (
            ("adapters.methods.modeling", "Adapter.__init__"),
            ["seq_list.append(self.non_linearity)", "config['non_linearity'].lower()"],
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_adapterhub_is_what_the_hooks_rest_on(function: tuple[str, str], facts: list[str]) -> None:
    """A failure means that a newer AdapterHub has changed a place that a hook relies on."""
    text = " ".join(source(function).split())
    for fact in facts:
        assert " ".join(fact.split()) in text, fact


def test_no_layer_goes_around_the_hooks() -> None:
    """No subclass of AdapterHub's bottleneck layer overrides ``add_adapter``."""
    import adapters.models.bert.mixin_bert
    from adapters.methods.bottleneck import BottleneckLayer

    for kind in (BottleneckLayer, adapters.models.bert.mixin_bert.BertOutputAdaptersMixin):
        assert issubclass(kind, BottleneckLayer)
        for method in ("add_adapter", "compose"):
            assert getattr(kind, method) is getattr(BottleneckLayer, method)
    assert BottleneckLayer.add_adapter.knows_adaptable


def test_a_process_wraps_adapterhubs_methods_once() -> None:
    from adapters.methods import bottleneck

    before = bottleneck.BottleneckLayer.add_adapter, bottleneck.BottleneckLayer.compose
    registration.register()
    assert (bottleneck.BottleneckLayer.add_adapter, bottleneck.BottleneckLayer.compose) == before
