"""Which of torch's libraries computes the frozen layers fastest on this CPU; timed, not assumed.

torch carries two for x86, MKL and oneDNN, and takes MKL for float32 and oneDNN for bfloat16. Which
is faster depends on the processor: on AMD's with AVX-512, MKL runs at about half the speed of
oneDNN, and without AVX-512 the two are about equal (benchmarks/frozen_linear.md). Where a processor
cannot multiply in bfloat16, that takes several times as long as float32.

So both are timed on a layer of the backbone's shape for a tenth of a second, once for each kind of
host, and the times are kept in the cache folder: a study that goes on later computes as before. It
is CPU time, since the other processes of a study begin at the same moment. The library changes
rounding alone, so it is no part of a trial.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from aa_ray.data import cache

# Precision and library, as in ``Times``. "torch" is what nn.Linear takes.
TORCH, ONEDNN = "torch", "oneDNN"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# Precision -> library -> milliseconds of CPU time for a layer's output and the gradient of its
# input, for so many tokens.
Times = dict[str, dict[str, float]]

TOKENS = 128
SECONDS = 0.1
ROUNDS = 3  # at least; the first compiles

# What takes that many times as long as the fastest is timed once.
HOPELESS = 4

# Where oneDNN cannot multiply in bfloat16, torch does it number by number, which may take seconds.
# Then so many times fewer tokens are timed.
FEWER = 16

# What is expected to be faster is taken unless the other is by this factor: less may be noise, and
# two processes of a study should compute the same.
CLEAR = 1.15

# Layers with fewer weights are not worth a measurement.
LEAST_WEIGHTS = 100_000

# Variables that restrict what the libraries may use.
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
             "MKL_ENABLE_INSTRUCTIONS")  # fmt: skip

# A precision that takes that much longer than float32 is slower.
SLOWER = 1.1


def onednn_is_expected_faster(dtype: torch.dtype) -> bool:
    """Without timing: float32 with AVX-512, bfloat16 if oneDNN has it.

    False where torch was built without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def onednn_is_faster(dtype: torch.dtype, features: tuple[int, int]) -> bool:
    """Whether ``cpu_layers.FrozenLinear`` pays on this CPU.

    Args:
        features: in and out features of a typical layer, [in, out].
    """
    expected = onednn_is_expected_faster(dtype)
    if features[0] * features[1] < LEAST_WEIGHTS or not torch.backends.mkldnn.is_available():
        return expected
    [precision] = [name for name, of_name in DTYPES.items() if of_name == dtype]
    of_precision = times(features)[precision]
    if ONEDNN not in of_precision:
        return False
    ratio = of_precision[TORCH] / of_precision[ONEDNN]  # above 1: oneDNN is faster
    return ratio > 1 / CLEAR if expected else ratio > CLEAR


def slowdown(precision: str, features: tuple[int, int]) -> float:
    """How many times as long a layer takes in the precision as in float32, each at its best."""
    measured = times(features)
    return min(measured[precision].values()) / min(measured["fp32"].values())


def slow_precision(precision: str, hidden_size: int) -> str | None:
    """What to say where this CPU is slower in the precision than in float32; None where not.

    Args:
        hidden_size: the backbone's; its widest layers are taken to be four times as wide.
    """
    if precision not in DTYPES or precision == "fp32":
        return None
    factor = slowdown(precision, (hidden_size, 4 * hidden_size))
    if factor < SLOWER:
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{precision} takes {factor:.1f} times as long as fp32 on this CPU ({capability}); "
        "--precision fp32 is faster here"
    )


def in_words(features: tuple[int, int]) -> str:
    """The times on one line, with the library that is used."""
    parts = []
    for precision, of_precision in times(features).items():
        used = ONEDNN if onednn_is_faster(DTYPES[precision], features) else TORCH
        figures = [
            f"{_title(precision, library)} {milliseconds:.1f} ms{' (used)' * (library == used)}"
            for library, milliseconds in of_precision.items()
        ]
        parts.append(f"{precision}: {', '.join(figures)}")
    size = f"{features[0]} x {features[1]}, {TOKENS} tokens, {torch.get_num_threads()} threads"
    return f"a frozen layer of {size}: {'; '.join(parts)}"


def _title(precision: str, library: str) -> str:
    if library == TORCH and precision == "fp32" and torch.backends.mkl.is_available():
        return "MKL"
    return "nn.Linear" if library == TORCH else "oneDNN"


def times(features: tuple[int, int]) -> Times:
    """What a layer of that shape takes on this kind of host; measured the first time."""
    return _times(features, torch.get_num_threads())


@functools.cache
def _times(features: tuple[int, int], threads: int) -> Times:
    path = _path(features, threads)
    kept = None if path is None else _read(path)
    if kept is not None:
        return kept
    measured = measure(features)
    if path is not None:
        _keep(path, measured)
    return measured


def measure(features: tuple[int, int], seconds: float = SECONDS) -> Times:
    """Time every precision and library in turn, and take the shortest time of each."""
    work = _contenders(features)
    shortest = dict.fromkeys(work, 0.0)
    until = time.process_time() + seconds
    rounds = 0
    while rounds < ROUNDS or time.process_time() < until:
        for name, once in work.items():
            if rounds and shortest[name] > HOPELESS * min(shortest.values()):
                continue
            milliseconds = once()
            shortest[name] = min(shortest[name] or milliseconds, milliseconds)
        rounds += 1
    measured: Times = {precision: {} for precision in DTYPES}
    for (precision, library), milliseconds in shortest.items():
        measured[precision][library] = milliseconds
    return measured


def _contenders(features: tuple[int, int]) -> dict[tuple[str, str], Callable[[], float]]:
    """By precision and library, what says how long a pass takes."""
    from aa_ray.training.cpu_layers import FrozenLinear  # which asks here what is faster

    work: dict[tuple[str, str], Callable[[], float]] = {}
    native = onednn_is_expected_faster(torch.bfloat16)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        for precision, dtype in DTYPES.items():
            linear = nn.Linear(*features).requires_grad_(False).to(dtype)
            layers: dict[str, nn.Module] = {TORCH: linear}
            fewer = FEWER if dtype == torch.bfloat16 and not native else 1
            if torch.backends.mkldnn.is_available() and fewer == 1:
                layers[ONEDNN] = FrozenLinear(linear)
            x = torch.randn(TOKENS // fewer, features[0], dtype=dtype, requires_grad=True)
            upstream = torch.randn(TOKENS // fewer, features[1], dtype=dtype)
            for library, layer in layers.items():
                work[precision, library] = functools.partial(_pass, layer, x, upstream, fewer)
    return work


def _pass(layer: nn.Module, x: torch.Tensor, upstream: torch.Tensor, times: int) -> float:
    """Milliseconds of that many forward passes, and backward passes to the input."""
    started = time.process_time()
    with torch.inference_mode(False), torch.enable_grad():
        torch.autograd.grad(layer(x), x, upstream)
    return 1000 * times * (time.process_time() - started)


def _path(features: tuple[int, int], threads: int) -> Path | None:
    """Of the file with this kind of host's times; None where no files are kept."""
    try:
        folder = cache.folder()
    except cache.CacheError:
        return None
    kind = [torch.__version__, features, threads, _processor()]
    kind += [os.environ.get(variable) for variable in VARIABLES]
    name = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:20]
    return None if folder is None else folder / f"cpu-{name}.json"


def _processor() -> list[str]:
    """What the processor is and has: by Linux, else by Python."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return [platform.machine(), platform.processor()]
    lines = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", text, re.M)
    return sorted(set(lines))


def _read(path: Path) -> Times | None:
    """The times in the file; None where there are none."""
    try:
        kept: Times = json.loads(path.read_text())
        whole = all(0 < kept[precision][TORCH] < float("inf") for precision in DTYPES)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if whole else None


def _keep(path: Path, measured: Times) -> None:
    """Write the times, whole or not at all; without a place for them nothing is lost."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(cache.PARTIAL, path.name, path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(measured, file)
        os.replace(partial, path)
