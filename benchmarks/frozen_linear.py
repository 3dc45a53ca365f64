"""Compare FrozenLinear (oneDNN) with torch's nn.Linear (MKL on x86): CPU, float32, one thread.

Times the forward pass and the gradient of the input for the shapes of MiniLM and BERT-base. Both
sides alternate. Prints medians and their ratio.

    python -m benchmarks.frozen_linear        (about a minute)
"""

import statistics
import time

import torch
from torch import nn

from aa_ray.training.cpu_layers import FrozenLinear

SHAPES = ((384, 384), (384, 1536), (1536, 384), (768, 768), (768, 3072), (3072, 768))
TOKENS = (320, 1280)
REPEATS = 30


def milliseconds(layer: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> float:
    """One forward and backward pass."""
    started = time.perf_counter()
    layer(x).backward(upstream)
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    torch.set_num_threads(1)
    print("| tokens | in | out | nn.Linear, ms | FrozenLinear, ms | ratio |")
    print("|---:|---:|---:|---:|---:|---:|")
    for tokens in TOKENS:
        for width_in, width_out in SHAPES:
            linear = nn.Linear(width_in, width_out).requires_grad_(False)
            frozen = FrozenLinear(linear)
            x = torch.randn(tokens, width_in, requires_grad=True)
            upstream = torch.randn(tokens, width_out)
            times: dict[nn.Module, list[float]] = {linear: [], frozen: []}
            for _ in range(REPEATS):
                for layer, measured in times.items():
                    measured.append(milliseconds(layer, x, upstream))
            before, after = (statistics.median(measured) for measured in times.values())
            ratio = before / after
            shape = f"{tokens} | {width_in} | {width_out}"
            print(f"| {shape} | {before:.2f} | {after:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
