"""Shared fixtures: the released code's values, and a BERT small enough to train in a test."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["AA_RAY_CACHE"] = ""  # tests must not share cached files
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the machine

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Python interprets the kernels

from hypothesis import settings

from aa_ray.core import backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.trial import Trial
from tests import tiny_encoders

# Properties check results, so a busy machine must not make them fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Files that run whole sweeps start first, so that the two test processes end at about the same
# time.
LONG = ("test_resilience.py", "test_studies.py", "test_table2.py", "test_leases.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)  # the sort is stable


@pytest.fixture(scope="session")
def released() -> dict[str, torch.Tensor]:
    """Return the values computed by the released classes; see tests/reference/README.md."""
    path = Path(__file__).parent / "reference" / "released-code-values.npz"
    with np.load(path) as values:
        return {name: torch.from_numpy(values[name]) for name in values.files}


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a BERT checkpoint with 3 layers, hidden size 32 and random weights."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    tiny_encoders.save_bert(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Backbone:
    return backbones.find(str(tiny_folder))


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., Trial]:
    """Return a factory of trials on the tiny model; the default is one epoch of the baseline."""

    def make(**changes: Any) -> Trial:
        settings: dict[str, Any] = {
            "task": "sst2",
            "regime": "100",
            "seed": 42,
            "backbone": "tiny",
            "data": Source("embedded").identity("sst2"),
            "layers": tuple(range(tiny_encoders.LAYERS)),
            "activation": "relu",
            "switched": False,
            "inference_depths": None,
            "learning_rate": 1e-3,
            "rational_learning_rate": 0.01,
            "switch_learning_rate": 0.05,
            "epochs": 1,
        }
        return Trial(**(settings | changes))

    return make
