"""Measures which of torch's libraries computes the frozen layers fastest on this CPU.

torch has two libraries on x86. By default it uses MKL for float32 and oneDNN for bfloat16. Which
one is faster depends on the processor. With AVX-512, AMD's processors run MKL at about half the
speed of oneDNN; without AVX-512 the two are about equal (benchmarks/frozen_linear.md). If a
processor cannot multiply in bfloat16, bfloat16 takes several times as long as float32.

So both libraries are timed for a tenth of a second on a layer of the backbone's shape, once for
each type of host. The cache folder keeps the times, so a resumed study computes as before. CPU time
is measured, since the study's other processes start at the same moment. The choice of library only
changes rounding, so it is not part of a trial's identity.
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

# Precisions and libraries, the keys of ``Times``. "torch" is the library of nn.Linear.
TORCH, ONEDNN = "torch", "oneDNN"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# Precision -> library -> milliseconds of CPU time for a layer's output and the gradient of its
# input, for ``TOKENS`` tokens.
Times = dict[str, dict[str, float]]

TOKENS = 128
SECONDS = 0.1
ROUNDS = 3  # minimum; the first one compiles

# A candidate that takes this many times as long as the fastest is timed only once.
HOPELESS = 4

# If oneDNN cannot multiply in bfloat16, torch does it number by number, which may take seconds. The
# number of timed tokens is then divided by this.
FEWER = 16

# The library that is expected to be faster is used unless the other one is faster by this factor.
# Smaller differences may be noise, and all processes of a study should compute the same.
CLEAR = 1.15

# Layers with fewer weights are not timed.
LEAST_WEIGHTS = 100_000

# Variables that restrict which instructions the libraries use.
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
             "MKL_ENABLE_INSTRUCTIONS")  # fmt: skip

# A precision counts as slower if it takes this many times as long as float32.
SLOWER = 1.1


def onednn_is_expected_faster(dtype: torch.dtype) -> bool:
    """The guess without timing: in float32 with AVX-512, in bfloat16 if oneDNN supports it.

    False if torch was built without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def onednn_is_faster(dtype: torch.dtype, features: tuple[int, int]) -> bool:
    """Whether ``cpu_layers.FrozenLinear`` is faster than ``nn.Linear`` on this CPU.

    Args:
        features: [in, out], the features of a typical layer.
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
    """Time of a layer in this precision relative to float32, each with its faster library."""
    measured = times(features)
    return min(measured[precision].values()) / min(measured["fp32"].values())


def slow_precision(precision: str, hidden_size: int) -> str | None:
    """The note that this CPU is slower in the precision than in float32; None if it is not.

    Args:
        hidden_size: the backbone's. Its widest layers are assumed to be four times as wide.
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
    """The times of a layer of this shape on this type of host; measured on the first call."""
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
    """Time all precisions and libraries in turn, and return the shortest time of each."""
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
    """(Precision, library) -> a function that returns the milliseconds of a pass."""
    from aa_ray.training.cpu_layers import FrozenLinear  # which imports this module

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
    """Milliseconds of ``times`` forward passes and backward passes to the input."""
    started = time.process_time()
    with torch.inference_mode(False), torch.enable_grad():
        torch.autograd.grad(layer(x), x, upstream)
    return 1000 * times * (time.process_time() - started)


def _path(features: tuple[int, int], threads: int) -> Path | None:
    """The file for the times of this type of host; None if no files are kept."""
    try:
        folder = cache.folder()
    except cache.CacheError:
        return None
    kind = [torch.__version__, features, threads, _processor()]
    kind += [os.environ.get(variable) for variable in VARIABLES]
    name = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:20]
    return None if folder is None else folder / f"cpu-{name}.json"


def _processor() -> list[str]:
    """The processor's model and features, from Linux, else from Python."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return [platform.machine(), platform.processor()]
    lines = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", text, re.M)
    return sorted(set(lines))


def _read(path: Path) -> Times | None:
    """The times in the file; None if there are none."""
    try:
        kept: Times = json.loads(path.read_text())
        whole = all(0 < kept[precision][TORCH] < float("inf") for precision in DTYPES)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if whole else None


def _keep(path: Path, measured: Times) -> None:
    """Write the times atomically. An error is ignored, since they can be measured again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(cache.PARTIAL, path.name, path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(measured, file)
        os.replace(partial, path)
