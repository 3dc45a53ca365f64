"""The measurements of ``benchmarks/h100.py --measure`` on a GPU, and the page they fill."""

import functools
import itertools
import time
import traceback
from collections.abc import Callable

import torch
from transformers import BertConfig, PreTrainedModel

from aa_ray.core.backbones import Backbone
from aa_ray.sweep import memory
from aa_ray.training import varlen
from aa_ray.trial import Precision
from benchmarks import on_gpu, study_cost
from benchmarks.arrays import BERT_LARGE, random_encoder
from benchmarks.on_gpu import Step
from benchmarks.pages import Page

METHODS = ("aa", "baseline")
MEANS = (40, 128)  # tokens per text: about GLUE's mean, and the longest
ARRAYS = (8, 1, 16, 4)  # trials side by side, the most telling first
OTHERS: tuple[Precision, ...] = ("tf32", "fp32")  # beside bf16
EVALUATED = 4096  # texts

COST = "All of Tables 2 to 4"
STEPS = "Training steps"
HOST = "What a step asks of the host"
PROFILE = "What the GPU does in a step"
ATTENTION = "Attention"
RATIONAL = "The rational"
EVALUATION = "Evaluation"
REPEATED = "The same run twice"


class OutOfTime(Exception):
    """No seconds are left."""


class Measured:
    """The speed of arrays of one size, as lines through the times at two text lengths.

    ``evaluation`` is in seconds per token and trial.
    """

    def __init__(self, steps: list[Step], evaluation: float) -> None:
        self._steps = steps
        self._evaluation = evaluation

    def step(self, method: str, tokens: float) -> float:
        """Return seconds per step: of Baseline if nothing adapts, else of AA, which is slower."""
        kind = "baseline" if method in ("baseline", "baseline-last-n", "adapter-drop") else "aa"
        short, long = sorted((s for s in self._steps if s.method == kind), key=lambda s: s.mean)
        slope = (1 / long.per_second - 1 / short.per_second) / (long.mean - short.mean)
        return max(0.0, 1 / short.per_second + slope * (tokens - short.mean))

    def evaluation(self, method: str, tokens: float) -> float:
        return self._evaluation * tokens


class Measurement:
    """Works through the list of measurements and skips those for which no time is left.

    Args:
        seconds: no measurement begins after these.
    """

    def __init__(
        self, page: Page, seconds: float, config: BertConfig = BERT_LARGE, device: str = "cuda"
    ) -> None:
        self.page = page
        self._config = config
        self._device = device
        self._end = time.monotonic() + seconds
        self._encoders: dict[Precision, PreTrainedModel] = {}
        self._steps: list[Step] = []
        self._evaluation: dict[Precision, float] = {}

    def encoder(self, precision: Precision) -> PreTrainedModel:
        """Return BERT-large. Only one copy is on the GPU at a time."""
        if precision not in self._encoders:
            self._encoders.clear()
            self._encoders[precision] = random_encoder(self._config, self._device, precision)
        return self._encoders[precision]

    def run(self) -> None:
        """Run everything, the most informative first."""
        self._begin()
        parts: list[Callable[[], None]] = [
            self._attention,
            functools.partial(self._arrays, "bf16"),
            functools.partial(self._evaluations, "bf16"),
            functools.partial(self._profiles, "bf16"),
            self._host,
            self._rational,
            self._repeated,
        ]
        for precision in OTHERS:
            parts.append(functools.partial(self._arrays, precision))
            parts.append(functools.partial(self._evaluations, precision))
        for part in parts:
            if not self._attempted(part):
                return

    def _attempted(self, part: Callable[[], None]) -> bool:
        """Return False when time is up. A failure is noted, and the next measurement begins."""
        try:
            part()
        except OutOfTime:
            self.page.add("Not measured", "Time ran out before the rest of the list.")
            return False
        except Exception as error:
            traceback.print_exc()
            self.page.add("Failed", f"- {type(error).__name__}: {str(error).splitlines()[0]}")
        return True

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            raise OutOfTime

    def _begin(self) -> None:
        begin_cost(self.page)
        self.page.table(
            STEPS, "Batches of 32 texts per trial: forward, backward and optimiser. Memory: "
            "PyTorch's peak of allocated memory, and the estimate behind `--fuse auto`.",
            "method", "precision", "trials side by side", "tokens", "ms per step",
            "steps of single trials per second", "peak, GB", "reckoned, GB",
        )  # fmt: skip

    def _arrays(self, precision: Precision) -> None:
        for trials in ARRAYS:
            for mean in MEANS:
                for method in METHODS:
                    self._check_time()
                    self._array(precision, trials, mean, method)

    def _array(self, precision: Precision, trials: int, mean: int, method: str) -> None:
        estimate = reckoned(precision, trials) / 1e9
        cells: tuple[object, ...] = (method, precision, trials, mean)
        encoder = self.encoder(precision)
        try:
            step = on_gpu.step(encoder, self._config, precision, method, trials, mean)
        except torch.OutOfMemoryError:
            self.page.row(STEPS, *cells, "does not fit", "", "", f"{estimate:.1f}")
            return
        self._steps.append(step)
        self.page.row(
            STEPS, *cells, f"{step.milliseconds:.1f}", f"{step.per_second:.1f}",
            f"{step.peak_bytes / 1e9:.1f}", f"{estimate:.1f}",
        )  # fmt: skip

    def _evaluations(self, precision: Precision) -> None:
        if precision == "bf16":
            self.page.table(
                EVALUATION, f"AA on a shared test set of {EVALUATED:,} texts with 40 tokens on "
                "average.", "precision", "trials side by side", "first pass, ms",
                "second pass, ms", "million tokens per second, over all trials",
            )  # fmt: skip
        for trials in (8, 1):
            self._check_time()
            array = on_gpu.made_up_array(
                self.encoder(precision), self._config, precision, "aa", trials, 40
            )
            taken = on_gpu.evaluation(array, EVALUATED, 40)
            tokens = EVALUATED * 40 * trials
            self._evaluation.setdefault(precision, taken.second / 1000 / tokens)
            self.page.row(
                EVALUATION, precision, trials, f"{taken.first:.0f}", f"{taken.second:.0f}",
                f"{tokens / taken.second / 1000:.1f}",
            )  # fmt: skip
        self._cost(precision)

    def _cost(self, precision: Precision) -> None:
        """Return the hours of all tables for every array size that was measured completely."""
        for trials in sorted(ARRAYS):
            steps = [s for s in self._steps if (s.precision, s.trials) == (precision, trials)]
            if len(steps) == len(METHODS) * len(MEANS):
                speed = Measured(steps, self._evaluation[precision])
                add_cost(self.page, precision, trials, speed)

    def _profiles(self, precision: Precision) -> None:
        self.page.table(
            PROFILE, "AA in bf16, from torch's profiler. Busy: time in kernels and copies over "
            "the step time above.", "trials side by side", "tokens", "kernels", "copies",
            "in kernels and copies, ms", "busy", "waits of the host",
        )  # fmt: skip
        for trials, mean in ((8, 40), (1, 40), (8, 128), (1, 128)):
            self._check_time()
            array = on_gpu.made_up_array(
                self.encoder(precision), self._config, precision, "aa", trials, mean
            )
            array.train()
            seen = on_gpu.profile(array)
            same = [s for s in self._steps if s[:4] == ("aa", precision, trials, mean)]
            busy = f"{100 * seen.busy_milliseconds / same[0].milliseconds:.0f} %" if same else ""
            self.page.row(
                PROFILE, trials, mean, f"{seen.kernels:,.0f}", f"{seen.copies:,.0f}",
                f"{seen.busy_milliseconds:.1f}", busy, f"{seen.waits:.1f}",
            )  # fmt: skip

    def _host(self) -> None:
        self.page.table(
            HOST, "Steps on texts of 3 tokens in bf16, where the GPU waits for the host.",
            "method", "trials side by side", "ms per step",
        )  # fmt: skip
        for trials in sorted(ARRAYS):
            for method in METHODS:
                self._check_time()
                step = on_gpu.step(
                    self.encoder("bf16"), self._config, "bf16", method, trials, 3, 0.4
                )
                self.page.row(HOST, method, trials, f"{step.milliseconds:.1f}")

    def _attention(self) -> None:
        self.page.table(
            ATTENTION, "One layer, forward and backward, 8 trials. A kernel that fails its check "
            "is left out. *Padded* uses no kernel and pads texts to the longest.",
            "precision", "kernel", "tokens", "ms",
        )  # fmt: skip
        precision: Precision
        for precision in ("fp32", "bf16"):
            encoder = self.encoder(precision)
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            kernels: list[varlen.Kernel | None] = [
                kernel
                for kernel in varlen.candidates(dtype)
                if varlen.works(kernel, encoder.device, dtype, 16, 64, dropout=True)
            ]
            for mean, kernel in itertools.product(MEANS, [*kernels, None]):
                self._check_time()
                taken = on_gpu.attention_milliseconds(encoder, 8, mean, kernel)
                name = "padded" if kernel is None else kernel.__name__
                self.page.row(ATTENTION, precision, name, mean, f"{taken:.2f}")

    def _rational(self) -> None:
        self.page.table(
            RATIONAL, "Forward and backward on the bottleneck of one layer, float32.",
            "trials side by side", "tokens of a trial", "Triton kernel, ms", "torch, ms",
        )  # fmt: skip
        for trials, tokens in ((1, 32 * 40), (8, 32 * 40), (8, 32 * 128)):
            self._check_time()
            milliseconds = (
                on_gpu.rational_milliseconds(tokens, trials, name) for name in ("triton", "torch")
            )
            shown = (f"{value:.3f}" for value in milliseconds)
            self.page.row(RATIONAL, trials, f"{tokens:,}", *shown)

    def _repeated(self) -> None:
        self.page.table(
            REPEATED, "Two runs of 24 steps with dropout, from the same seeds: trained numbers "
            "that differ in any bit.", "method", "precision", "trials side by side", "differ",
        )  # fmt: skip
        for method in METHODS:
            self._check_time()
            make = functools.partial(
                on_gpu.made_up_array, self.encoder("bf16"), self._config, "bf16", method, 4, 40
            )
            self.page.row(REPEATED, method, "bf16", 4, f"{on_gpu.repeatable(make)[1]:,}")


def begin_cost(page: Page) -> None:
    """Begin the page: the hours of all tables, and what they count."""
    low, full = study_cost.low_data(), study_cost.full_data()
    limit = study_cost.Arithmetic(550e12)
    page.table(
        COST,
        f"{sum(of.runs for of in low):,} training runs at 100, 300 and 500 examples, and "
        f"{sum(of.runs for of in full):,} on full data (Table 2). Each has 20 epochs, with the "
        "development set after every epoch and the test set at the end. Texts are as long as "
        "GLUE's in BERT's tokens. All hours follow from the steps below at two lengths. Not "
        "included: loading, tokenising, and waiting for the AA runs that select layers. The "
        "matrix products of the frozen layers alone, at 550 TFLOP/s, take "
        f"{60 * study_cost.hours(low, limit):.0f} minutes and "
        f"{study_cost.hours(full, limit):.1f} hours.",
        "precision", "trials side by side", "100, 300 and 500 examples, hours",
        "full data, hours",
    )  # fmt: skip


def add_cost(page: Page, precision: Precision, trials: int, speed: Measured) -> None:
    """Add the hours of all tables at that speed."""
    low = study_cost.hours(study_cost.low_data(), speed)
    full = study_cost.hours(study_cost.full_data(), speed)
    page.row(COST, precision, trials, f"{low:.2f}", f"{full:.1f}")


def reckoned(precision: Precision, trials: int) -> int:
    """Return the bytes that ``--fuse auto`` expects an array to need."""
    backbone = Backbone("random", "random", BERT_LARGE.num_hidden_layers, BERT_LARGE.hidden_size)
    of_trial = memory.of_trial(backbone, precision)
    return memory.of_weights(backbone, precision) + trials * of_trial
