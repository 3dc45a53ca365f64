"""How long do Tables 2 to 4 take on BERT-large with one GPU? Estimates it, or measures it.

    python -m benchmarks.h100              write the estimate, based on counted work
    python -m benchmarks.h100 --measure    measure on this machine's GPU instead

Both write benchmarks/h100.md (or --output). A measurement takes about --seconds and needs no
weights, data or network. It updates the page as it goes, most informative results first.
"""

import argparse
import importlib
from datetime import date
from pathlib import Path

import torch

from aa_ray.store import provenance
from benchmarks.gpu_measurement import Measurement
from benchmarks.pages import Page


def commit_and_day() -> str:
    commit, dirty = provenance.commit()
    return f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}"


def measure(path: Path, seconds: float) -> None:
    """Measure on this machine's GPU."""
    page = Page(path, "BERT-large on one GPU, measured")
    page.section(
        "",
        "    python -m benchmarks.h100 --measure\n",
        f"{commit_and_day()}, {torch.cuda.get_device_name()}, torch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN "
        f"{torch.backends.cudnn.version()}. BERT-large with random weights, made-up texts, and the "
        "package's own training loop.",
    )
    Measurement(page, seconds).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="on this machine's GPU")
    parser.add_argument("--seconds", type=float, default=150, help="of a measurement")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    if not options.measure:
        h100_estimate = importlib.import_module("benchmarks.h100_estimate")
        page = Page(options.output, "BERT-large on one H100, estimated")
        h100_estimate.write(page, commit_and_day())
    elif torch.cuda.is_available():
        measure(options.output, options.seconds)
    else:
        raise SystemExit("--measure needs an NVIDIA GPU; this machine has none")


if __name__ == "__main__":
    main()
