"""Writes the page benchmarks/device_work.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages import Page
from benchmarks.roofline import GAP, GPUS, HOST

Counted = Mapping[str, Mapping[str, Mapping[str, float]]]  # case -> phase -> what is counted

STEPS = "Training steps"
PHASES = "Where a step of AA spends it"
EVALUATION = "Evaluation"


def write(path: Path, counted: Counted, before: Mapping[str, Any], commit: str) -> None:
    """Write the current counts beside those of an earlier commit.

    Args:
        before: the earlier ``commit`` and its ``cases``.
    """
    page = Page(path, "The work of a step on a GPU, counted")
    earlier = before["commit"][:7]
    page.section(
        "",
        "    python -m benchmarks.device_work\n",
        f"Commit {commit}; before: {earlier}. BERT-large on random texts, batches of 32 per "
        "trial, counted on tensors without data: nothing here was timed. One operator counts as "
        "one kernel, except for a few that need more. Bytes are those of arguments and results, "
        "each counted once. Waits are calls in which the host waits for the GPU. Attention pads "
        "its texts to the longest in training in fp32, and nowhere else, as on an H100.",
    )
    _steps(page, counted, before["cases"])
    _phases(page, counted, before["cases"])
    _evaluations(page, counted, before["cases"])
    _assumptions(page)


def _total(phases: Mapping[str, Mapping[str, float]], name: str) -> float:
    return sum(phase[name] for phase in phases.values())


def _precisions(precision: str) -> tuple[str, ...]:
    """Return the precisions that do the same work."""
    return ("bf16",) if precision == "bf16" else ("fp32", "tf32")


def _change(now: float, then: float, digits: int = 0) -> str:
    return f"{then:,.{digits}f} → {now:,.{digits}f}"


def _steps(page: Page, counted: Counted, earlier: Counted) -> None:
    page.table(
        STEPS, "Before → now. Milliseconds are the device's by the roofline below, then the "
        "host's beside an H100. A step takes the longer of the two.",
        "method", "precision", "trials", "tokens", "kernels", "GB", "TFLOP", "waits",
        *(f"{gpu}, ms" for gpu in GPUS), "host, ms",
    )  # fmt: skip
    for key, phases in counted.items():
        method, precision, trials, _, mean, kind, layers, _ = key.split()
        if kind != "training" or layers != "24":
            continue
        then = earlier[key]
        for shown in _precisions(precision):
            page.row(
                STEPS, method, shown, trials, mean,
                _change(_total(phases, "kernels"), _total(then, "kernels")),
                _change(_total(phases, "bytes") / 1e9, _total(then, "bytes") / 1e9),
                f"{_total(phases, 'flops') / 1e12:.1f}",
                _change(_total(phases, "waits"), _total(then, "waits")),
                *(
                    _change(_total(phases, f"{gpu} {shown}"), _total(then, f"{gpu} {shown}"))
                    for gpu in GPUS
                ),
                _change(host(phases), host(then)),
            )  # fmt: skip


def host(phases: Mapping[str, Mapping[str, float]]) -> float:
    """Milliseconds on the host."""
    return 1000 * HOST * _total(phases, "kernels")


def _phases(page: Page, counted: Counted, earlier: Counted) -> None:
    page.table(
        PHASES, "bf16, 40 tokens per text on average; before → now.",
        "trials", "phase", "kernels", "GB", "copies", "waits",
    )  # fmt: skip
    for trials in (1, 8):
        key = f"aa bf16 {trials} x 40 training 24 layers"
        for phase, work in counted[key].items():
            then = earlier[key].get(phase, dict.fromkeys(work, 0.0))
            page.row(
                PHASES, trials, phase, _change(work["kernels"], then["kernels"]),
                _change(work["bytes"] / 1e9, then["bytes"] / 1e9, 1),
                _change(work["copies"], then["copies"]), _change(work["waits"], then["waits"]),
            )  # fmt: skip


def _evaluations(page: Page, counted: Counted, earlier: Counted) -> None:
    page.table(
        EVALUATION, "The longest batch of a shared test set, 65,536 tokens over all trials; "
        "before → now.",
        "method", "precision", "trials", "kernels", "GB", "TFLOP", "waits",
        *(f"{gpu}, ms" for gpu in GPUS),
    )  # fmt: skip
    for key, phases in counted.items():
        method, precision, trials, _, _, kind, _, _ = key.split()
        if kind != "evaluation":
            continue
        now, then = phases["evaluation"], earlier[key]["evaluation"]
        for shown in _precisions(precision):
            page.row(
                EVALUATION, method, shown, trials, _change(now["kernels"], then["kernels"]),
                _change(now["bytes"] / 1e9, then["bytes"] / 1e9), f"{now['flops'] / 1e12:.1f}",
                _change(now["waits"], then["waits"]),
                *(_change(now[f"{gpu} {shown}"], then[f"{gpu} {shown}"]) for gpu in GPUS),
            )  # fmt: skip


def _assumptions(page: Page) -> None:
    page.table(
        "Assumptions",
        "A matrix product takes the time of its FLOPs or its bytes, whichever is longer. "
        f"Everything else takes the time of its bytes. Each kernel adds {GAP * 1e6:.0f} µs. The "
        f"host takes {HOST * 1e6:.0f} µs per kernel (Python, autograd, launch). Rates are what "
        "well-shaped products and copies are assumed to reach; peaks are from data sheets, "
        "dense.",
        "GPU", "bf16, TFLOP/s", "tf32, TFLOP/s", "fp32, TFLOP/s", "memory, TB/s",
        "peaks: bf16, tf32, fp32, TFLOP/s; memory, TB/s",
    )  # fmt: skip
    for name, gpu in GPUS.items():
        rates = (f"{rate / 1e12:.0f}" for rate in (gpu.bf16, gpu.tf32, gpu.fp32))
        page.row("Assumptions", name, *rates, f"{gpu.memory / 1e12:.2f}", gpu.peak)
