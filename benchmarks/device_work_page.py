"""The page of benchmarks/device_work.py."""

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
    """Today's counts beside those of an earlier commit.

    Args:
        before: ``commit``, and its ``cases``.
    """
    page = Page(path, "The work of a step on a GPU, counted")
    earlier = before["commit"][:7]
    page.section(
        "",
        "    python benchmarks/device_work.py\n",
        f"Commit {commit}; before: {earlier}. BERT-large on made-up texts, batches of 32 per "
        "trial, counted on tensors without numbers: nothing here was timed. A kernel is an "
        "operator, but for a few that take more; bytes are those of arguments and results, each "
        "once. Waits are moments in which the host waits for the GPU.",
    )
    _steps(page, counted, before["cases"])
    _phases(page, counted, before["cases"])
    _evaluations(page, counted, before["cases"])
    _assumptions(page)


def _total(phases: Mapping[str, Mapping[str, float]], name: str) -> float:
    return sum(phase[name] for phase in phases.values())


def _precisions(precision: str) -> tuple[str, ...]:
    """Those that are the same work."""
    return ("bf16",) if precision == "bf16" else ("fp32", "tf32")


def _change(now: float, then: float, digits: int = 0) -> str:
    return f"{then:,.{digits}f} → {now:,.{digits}f}"


def _steps(page: Page, counted: Counted, earlier: Counted) -> None:
    page.table(
        STEPS, "Before → now. Milliseconds are the device's by the roofline below, then, on an "
        "H100, those of the host: the longer of the two is what a step takes.",
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
    """Milliseconds of the host."""
    return 1000 * HOST * _total(phases, "kernels")


def _phases(page: Page, counted: Counted, earlier: Counted) -> None:
    page.table(
        PHASES, "bf16, texts of 40 tokens on average; before → now.",
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
        EVALUATION, "The longest batch of a test set that the trials share, 65,536 tokens over all "
        "of them; before → now.",
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
        "A product takes as long as its operations or its bytes, whichever is longer; all else as "
        f"long as its bytes; and each kernel {GAP * 1e6:.0f} µs more. The host takes "
        f"{HOST * 1e6:.0f} µs per kernel (Python, autograd, launch). The rates are what "
        "well-shaped products and copies are taken to reach; the peaks are those of data sheets, "
        "dense.",
        "GPU", "bf16, TFLOP/s", "tf32, TFLOP/s", "fp32, TFLOP/s", "memory, TB/s",
        "peaks: bf16, tf32, fp32, TFLOP/s; memory, TB/s",
    )  # fmt: skip
    for name, gpu in GPUS.items():
        rates = (f"{rate / 1e12:.0f}" for rate in (gpu.bf16, gpu.tf32, gpu.fp32))
        page.row("Assumptions", name, *rates, f"{gpu.memory / 1e12:.2f}", gpu.peak)
