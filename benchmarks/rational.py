"""Compare our rational with GELU, ReLU and the released package's torch function: time and memory.

Runs forward and backward passes on bottleneck activations of several sizes, interleaved in one run,
on the GPU if there is one. Needs the released package:

    pip install --no-deps rational-activations==0.2.0
    python -m benchmarks.rational > benchmarks/rational.md
"""

import importlib
import statistics
import time
from collections.abc import Callable
from datetime import date

import torch
from torch import Tensor

from aa_ray.core.rational import Rational
from aa_ray.store import provenance

REPEATS = 15
# Tokens x bottleneck units of MiniLM (24), BERT-base (48) and BERT-large (64).
SIZES = [(tokens, units) for units in (24, 48, 64) for tokens in (1_000, 32 * 128, 32_000)]


def released_function() -> Callable[..., Tensor]:
    """Return the package's function."""
    return importlib.import_module("rational.torch.rational_pytorch_functions").Rational_PYTORCH_A_F


def functions(device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return name -> activation. Both rationals have the coefficients of a leaky ReLU."""
    ours = Rational("leaky_relu").to(device)
    numerator, denominator = ours.numerator, ours.denominator
    released = released_function()
    return {
        "aa_ray": ours,
        "rational-activations": lambda x: released(x, numerator, denominator, True),
        "GELU": torch.nn.functional.gelu,
        "ReLU": torch.nn.functional.relu,
    }


def step(function: Callable[[Tensor], Tensor], x: Tensor, device: torch.device) -> float:
    """Return the seconds of one forward and backward pass."""
    x.grad = None
    started = time.perf_counter()
    function(x).sum().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def kept_bytes(function: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return the bytes kept between the forward and the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function(x)
    return sum(kept.values())


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_default_device(device)  # the package makes constants on the default device
    torch.set_num_threads(1)
    candidates = functions(device)
    commit, dirty = provenance.commit()
    print("# The rational activation\n\n    python -m benchmarks.rational\n")
    state = " (changed)" if dirty else ""
    print(f"Commit {commit}{state}, {date.today()}, {provenance.device_name(device)}, torch")
    print(f"{torch.__version__}. Forward and backward, float32, medians of {REPEATS} interleaved")
    print("repeats; in parentheses, bytes per element that are kept for the backward pass.\n")
    print("| tokens x units | " + " | ".join(f"{name}, ms" for name in candidates) + " |")
    print("|---|" + "---:|" * len(candidates))
    for tokens, units in SIZES:
        x = torch.randn(tokens, units, requires_grad=True)
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for repeat in range(REPEATS + 2):  # the first two warm up
            for name, function in candidates.items():
                taken = step(function, x, device)
                if repeat >= 2:
                    seconds[name].append(taken)
        shown = [
            f"{1000 * statistics.median(seconds[name]):.2f} ({kept_bytes(f, x) / x.numel():.0f})"
            for name, f in candidates.items()
        ]
        print(f"| {tokens:,} x {units} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
