"""The estimate of benchmarks/h100.py, from an H100's roofline."""

import sys

from aa_ray.trial import Precision
from benchmarks.device_work import EVALUATION, EVALUATION_TOKENS, Case, counts
from benchmarks.device_work_page import host
from benchmarks.gpu_measurement import MEANS, METHODS, STEPS, Measured, add_cost, begin_cost
from benchmarks.on_gpu import Step
from benchmarks.pages import Page

ESTIMATED: tuple[tuple[Precision, int], ...] = (
    ("bf16", 1), ("bf16", 8), ("bf16", 16), ("tf32", 8), ("fp32", 8)
)  # fmt: skip


def write(page: Page, state: str) -> None:
    """Write the page from the work that ``benchmarks.device_work`` counts.

    Args:
        state: commit and date.
    """
    page.section(
        "",
        "    python -m benchmarks.h100\n",
        f"{state}. Nothing here was measured: work is counted as in "
        "[device_work.md](device_work.md), whose assumptions hold. Where an NVIDIA GPU is at hand, "
        "`python -m benchmarks.h100 --measure` puts a measurement in the place of this page.",
    )
    begin_cost(page)
    page.table(
        STEPS, "Batches of 32 texts per trial. A step takes as long as the device or the host, "
        "whichever is longer.", "method", "precision", "trials side by side", "tokens",
        "device, ms", "host, ms", "steps of single trials per second",
    )  # fmt: skip
    for precision, trials in ESTIMATED:
        add_cost(page, precision, trials, _estimated(page, precision, trials))
        print(f"{precision}, {trials} trials", file=sys.stderr)


def _estimated(page: Page, precision: Precision, trials: int) -> Measured:
    """Return an array's estimated speed, and add its steps to the page."""
    same: Precision = "bf16" if precision == "bf16" else "fp32"  # tf32 is the same work
    steps = []
    for mean in MEANS:
        for method in METHODS:
            phases = counts(Case(method, same, trials, mean))
            device = sum(work[f"H100 {precision}"] for work in phases.values())
            step = Step(method, precision, trials, mean, max(device, host(phases)), 0)
            page.row(
                STEPS, method, precision, trials, mean, f"{device:.0f}", f"{host(phases):.0f}",
                f"{step.per_second:.0f}",
            )  # fmt: skip
            steps.append(step)
    phases = counts(Case("aa", same, trials, evaluated=True))
    taken = max(phases[EVALUATION][f"H100 {precision}"], host(phases))
    return Measured(steps, taken / 1000 / EVALUATION_TOKENS)
