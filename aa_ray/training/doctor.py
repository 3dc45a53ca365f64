"""Checks whether this machine is ready for a study: one line per check, with advice.

Everything is tried, not just looked up: kernels are compiled, values compared, steps timed. For a
cluster, ``aa_ray.sweep.doctor`` runs these checks on each machine.
"""

import glob
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from aa_ray.core.rational import triton_fault
from aa_ray.store import provenance
from aa_ray.training import cpu_products, selfcheck
from aa_ray.training.selfcheck import LOWER_TOLERANCE, TOLERANCE
from aa_ray.trial import Precision

OK, SLOW, BROKEN = "ok", "slow", "broken"
STATES = (OK, SLOW, BROKEN)

# Numbers of trials side by side for which steps are timed.
GROUPS = (1, 2, 4, 8)

# In and out features of MiniLM's widest layer.
MINILM_LAYER = (384, 1536)

# If others use more than this share of a GPU's memory, it has less than a study plans with.
LEAST_FREE = 0.8


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        state: OK; SLOW: it works, but slower or with less than possible; BROKEN.
        text: the observation, in one line.
        advice: what to do about it.
    """

    state: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Check(Finding):
    """A finding with its origin.

    Attributes:
        host: the machine.
        name: the name of the check.
        seconds: how long it took.
    """

    host: str = ""
    name: str = ""
    seconds: float = 0.0


def checks(use_gpu: bool = True) -> Iterator[Check]:
    """Check this machine, its first GPU and its CPU, one check after another.

    Args:
        use_gpu: whether to check the GPU if there is one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a study; with more, threads only slow each other down
    name = "cuda" if use_gpu and torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    work: dict[str, Callable[[], Finding]] = {
        "software": software,
        "device": partial(_gpu if name == "cuda" else _cpu, device),
        "other GPUs": _other_gpus,
        "rational": partial(_rational, device),
        "attention": partial(_attention, device),
        "side by side": partial(_side_by_side, device),
        "encoders": partial(_encoders, device),
        "precisions": partial(_precisions, device),
        "products": _products,
        "speed": partial(_speed, device),
    }
    if name == "cuda":
        del work["products"]
    if name == "cpu" or torch.cuda.device_count() < 2:
        del work["other GPUs"]
    try:
        for title, check in work.items():
            yield tried(title, check)
    finally:
        torch.set_num_threads(threads)


def tried(name: str, check: Callable[[], Finding]) -> Check:
    """Run the check and return its finding; an exception becomes a finding too."""
    started = time.perf_counter()
    try:
        finding = check()
    except Exception as error:  # any error is a finding
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        finding = Finding(BROKEN, text, "look up the message, or report it")
    seconds = time.perf_counter() - started
    return Check(**vars(finding), host=provenance.host(), name=name, seconds=round(seconds, 1))


def software() -> Finding:
    """Versions of the software that a study uses."""
    import adapters
    import transformers

    return Finding(
        OK,
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, adapters {adapters.__version__}",
    )


def _gpu(device: torch.device) -> Finding:
    """The first GPU: its name, driver, and how much of its memory is free."""
    free, total = torch.cuda.mem_get_info(device)
    versions = provenance.gpu_versions()
    text = (
        f"{torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, "
        f"driver {versions.get('nvidia-driver', 'unknown')}, CUDA {versions.get('cuda')}, "
        f"cuDNN {versions.get('cudnn', 'none')}"
    )
    if free < LEAST_FREE * total:
        return Finding(SLOW, text, "stop other programs that use it (nvidia-smi lists them)")
    return Finding(OK, text)


def _cpu(device: torch.device) -> Finding:
    """The CPU; if the machine seems to have a GPU, why torch does not see it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{cores} CPU cores, {torch.backends.cpu.get_cpu_capability()}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    if not hidden and glob.glob("/dev/nvidia[0-9]*"):
        if torch.version.cuda is None:
            advice = "this torch is built for CPUs; install the build for CUDA (pytorch.org)"
        else:
            advice = (
                f"torch was built for CUDA {torch.version.cuda}; compare nvidia-smi, and update "
                "the driver or install the torch build for the driver's CUDA"
            )
        text = f"the machine has an NVIDIA GPU, but torch sees none; {text}"
        return Finding(BROKEN, text, advice)
    return Finding(OK, f"no NVIDIA GPU; {text}")


def _other_gpus() -> Finding:
    """Matrix products on the other GPUs, which may be faulty even if the first is not."""
    left = torch.randn(256, 256)
    expected = left @ left
    for number in range(1, torch.cuda.device_count()):
        there = left.to(f"cuda:{number}")
        error = float(((there @ there).cpu() - expected).abs().max() / expected.abs().max())
        if error > 1e-4:
            return Finding(BROKEN, f"GPU {number} multiplies wrongly ({error:.0e})", "remove it")
    return Finding(OK, f"{torch.cuda.device_count() - 1} more compute correctly")


def _rational(device: torch.device) -> Finding:
    """The kernels of the rational activation: whether they compile, and their values."""
    started = time.perf_counter()
    fault = triton_fault() if device.type == "cuda" else None
    kernels = "numba" if device.type == "cpu" else "Triton" if fault is None else "torch"
    error = selfcheck.rational_difference(device)
    text = (
        f"{kernels}'s kernels compiled in {time.perf_counter() - started:.1f} s, within "
        f"{error:.0e} of torch's operations"
    )
    if fault is not None:
        return Finding(
            SLOW,
            f"Triton does not work ({fault}), so torch computes rationals",
            "install a C compiler and Python's headers (apt-get install gcc python3-dev), and make "
            "~/.triton or TRITON_CACHE_DIR writable",
        )
    if not error < 1e-4:
        return Finding(BROKEN, text, "do not use results with rationals from this machine")
    return Finding(OK, text)


def _attention(device: torch.device) -> Finding:
    """The torch kernels that compute attention."""
    kernels = selfcheck.attention_kernels(device, "fp32")
    text = ", ".join(f"{name}: {kernel}" for name, kernel in kernels.items())
    if device.type == "cuda":
        half = selfcheck.attention_kernels(device, "bf16")
        text += ", ".join(["", *(f"{name} in bf16: {kernel}" for name, kernel in half.items())])
        if any("math" in kernel or "softmax" in kernel for kernel in (kernels | half).values()):
            return Finding(SLOW, text, "this GPU or torch lacks the fused attention kernels")
    return Finding(OK, text)


def _side_by_side(device: torch.device) -> Finding:
    """Compares trials of all types side by side with the same trials one by one."""
    error = selfcheck.side_by_side_difference(device)
    text = f"{len(selfcheck.KINDS)} trials side by side are within {error:.0e} of one by one"
    if not error <= TOLERANCE:
        return Finding(BROKEN, text, "run with --fuse 1, and report this")
    return Finding(OK, text)


def _encoders(device: torch.device) -> Finding:
    """Compares short training runs on all architectures with the CPU, or between the engines."""
    errors = {}
    failed = {}
    for kind in selfcheck.architectures():
        try:
            errors[kind] = selfcheck.architecture_difference(kind, device)
        except Exception as error:
            failed[kind] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:100]
    failed |= {k: f"differs by {e:.0e}" for k, e in errors.items() if not e <= TOLERANCE}
    against = "the CPU" if device.type == "cuda" else "AdapterHub's forward pass"
    if failed:
        text = ", ".join(f"{kind} ({why})" for kind, why in failed.items())
        return Finding(BROKEN, f"wrong: {text}", "do not use these encoders here, and report this")
    worst = max(errors.values())
    return Finding(OK, f"{len(errors)} architectures train, within {worst:.0e} of {against}")


def _precisions(device: torch.device) -> Finding:
    """Lower precisions: how close their losses come, and how fast they are."""
    others: tuple[Precision, ...] = ("tf32", "bf16") if device.type == "cuda" else ("bf16",)
    count = 4 if device.type == "cuda" else 1
    full = _speed_of(device, "fp32", count)
    parts, wrong, slower = [], [], []
    for precision in others:
        error = selfcheck.precision_difference(precision, device)
        factor = _speed_of(device, precision, count) / full
        speed = f"{factor:.2g} times as fast as fp32"
        parts.append(f"{precision}: {speed}, losses within {100 * error:.1f} %")
        wrong += [precision] * (not error <= LOWER_TOLERANCE)
        slower += [precision] * (factor < 0.9)  # less is noise
    text = "; ".join(parts)
    if wrong:
        return Finding(BROKEN, text, f"do not use --precision {' or '.join(wrong)} here")
    if slower:
        return Finding(SLOW, text, f"do not use --precision {' or '.join(slower)} here")
    return Finding(OK, text)


def _products() -> Finding:
    """On a CPU: which library computes the frozen layers fastest, and whether bf16 is faster."""
    text = cpu_products.in_words(MINILM_LAYER)
    slow = cpu_products.slow_precision("bf16", MINILM_LAYER[0])
    return Finding(OK, text) if slow is None else Finding(SLOW, text, slow)


def _speed_of(device: torch.device, precision: Precision, count: int) -> float:
    encoder = selfcheck.middle_size(device, precision)
    return count * selfcheck.steps_per_second(encoder, count, precision, 0.5)


def _speed(device: torch.device) -> Finding:
    """Training steps per second of all trials together, by the number side by side."""
    encoder = selfcheck.middle_size(device)
    speeds = {}
    for count in GROUPS:
        try:
            speeds[count] = count * selfcheck.steps_per_second(encoder, count, "fp32", 0.5)
        except torch.OutOfMemoryError:
            break
    best = max(speeds, key=lambda count: speeds[count])
    size = "BERT-base" if device.type == "cuda" else "MiniLM"
    figures = ", ".join(f"{speed:.1f} with {count}" for count, speed in speeds.items())
    return Finding(
        OK,
        f"trial steps per second, {selfcheck.step_texts(device)} texts on a random {size}: "
        f"{figures} side by side; {best} is best",
    )
