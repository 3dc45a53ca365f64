"""Count what a training step and an evaluation batch of BERT-large ask of a GPU, without a GPU.

    python -m benchmarks.device_work                   count and write benchmarks/device_work.md
    python -m benchmarks.device_work --save FILE       count and save the counts as JSON

The package's own code runs on tensors without data (``benchmarks.fake_gpu``), so every machine
gets the same counts. benchmarks/device_work.json holds the counts of an earlier commit; the page
shows them beside the current ones.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from aa_ray.core import model
from aa_ray.core.adapter import sample_gumbel
from aa_ray.data import batches
from aa_ray.store import provenance
from aa_ray.training import unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.trainer import TrialTrainer
from aa_ray.trial import Precision, Trial
from benchmarks.arrays import (
    ARCHITECTURES,
    BERT_LARGE,
    Array,
    made_up_examples,
    made_up_trials,
    random_encoder,
)
from benchmarks.counting import Counter, Work
from benchmarks.fake_gpu import fake_gpu
from benchmarks.roofline import GPUS, milliseconds

TRAINING = ("batch", "forward", "backward", "optimiser")
EVALUATION = "evaluation"
EVALUATION_TOKENS = 65_536  # of a batch, over all trials


class Case(NamedTuple):
    """A step or batch to count.

    Attributes:
        method: a key of ``ARCHITECTURES``, or "mixed" for one trial of each in turn.
        mean: mean number of tokens per text.
        evaluated: count a batch of a test set instead of a training step.
        layers: number of layers, each as wide as BERT-large's.
    """

    method: str
    precision: Precision
    trials: int
    mean: int = 40
    evaluated: bool = False
    layers: int = BERT_LARGE.num_hidden_layers

    @property
    def key(self) -> str:
        kind = "evaluation" if self.evaluated else "training"
        layers = f"{self.layers} layers"
        return f"{self.method} {self.precision} {self.trials} x {self.mean} {kind} {layers}"


class _Done(Exception):
    """Raised when everything has been counted."""


def count(case: Case) -> dict[str, Work]:
    """Return the work of each phase in ``TRAINING``, or of ``EVALUATION`` alone."""
    config = deepcopy(BERT_LARGE)
    config.num_hidden_layers = case.layers
    with fake_gpu(), _choices(), Counter() as counter:
        encoder = random_encoder(config, "cuda", case.precision)
        array = Array(encoder, _trials(case, config), case.mean, steps=4)
        if case.evaluated:
            _evaluate(array, counter, case)
        else:
            with _phases(counter, encoder), contextlib.suppress(_Done):
                array.train()
    return counter.phases


def _trials(case: Case, config: Any) -> list[Trial]:
    if case.method != "mixed":
        return made_up_trials(case.method, case.trials, config, case.precision)
    names = [*ARCHITECTURES] * case.trials
    return [
        made_up_trials(names[k], case.trials, config, case.precision)[k] for k in range(case.trials)
    ]


@contextlib.contextmanager
def _choices() -> Iterator[None]:
    """Fix what only a GPU or real numbers decide: the kernel, and how much AdapterDrop skips."""
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("aa_ray.training.varlen"):  # earlier commits have none
            varlen = importlib.import_module("aa_ray.training.varlen")
            stack.enter_context(mock.patch.object(varlen, "kernel", _kernel))
        half = lambda trainer: trainer.num_layers // 2  # noqa: E731
        stack.enter_context(mock.patch.object(TrialTrainer, "_skipped", half))
        stack.enter_context(mock.patch.object(model, "sample_gumbel", _drawn))
        yield


def _kernel(
    device: torch.device, dtype: torch.dtype, heads: int, units: int, dropout: bool = False
) -> Any:
    """The attention kernel that an H100 uses; None: it pads, since none drops correctly."""
    varlen: Any = importlib.import_module("aa_ray.training.varlen")
    return None if dropout and dtype == torch.float32 else varlen.candidates(dtype)[0]


def _drawn(*arguments: Any) -> torch.Tensor:
    """Noise drawn on the CPU, since fake tensors have no random generator."""
    with unset_fake_temporarily():
        return sample_gumbel(*arguments)


@contextlib.contextmanager
def _phases(counter: Counter, encoder: Any) -> Iterator[None]:
    """Count from the end of the second backward pass to the end of the third.

    The first step differs, because it creates Adam's moments.
    """
    passes = 0

    def counted(backward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal passes
            passes += 1
            counter.phase = "backward" if passes == 3 else None
            result = backward(*args, **kwargs)
            counter.phase = "optimiser" if passes == 2 else None
            if passes == 3:
                raise _Done
            return result

        return run

    def begin(*_: Any) -> None:
        counter.phase = "forward" if passes == 2 else None

    packed = unpadded.pack

    def pack(parts: Any, indices: Any, *rest: Any) -> Any:
        if counter.phase is not None:
            counter.phase = "batch"
        counter.pairs = _pairs(parts, indices)
        return packed(parts, indices, *rest)

    hook = encoder.base_model.embeddings.register_forward_pre_hook(begin)
    with (
        mock.patch.object(torch.autograd, "backward", counted(torch.autograd.backward)),
        mock.patch.object(torch.autograd, "grad", counted(torch.autograd.grad)),
        mock.patch.object(unpadded, "pack", pack),
    ):
        yield
    hook.remove()


def _pairs(parts: Any, indices: Any) -> int:
    """Return the number of token pairs that attend to each other."""
    pairs = (part.lengths[of] ** 2 for part, of in zip(parts, indices, strict=True))
    return sum(int(of_part.sum()) for of_part in pairs)


def _evaluate(array: Array, counter: Counter, case: Case) -> None:
    """Evaluate the largest batch of a test set with all trials."""
    examples = made_up_examples(EVALUATION_TOKENS // case.mean, case.mean, seed=7)
    contexts = [TrialContext(trainer.trial_model) for trainer in array.trainers]
    *_, indices = batches.by_length(examples, EVALUATION_TOKENS // case.trials)
    array.engine.encoder.eval()
    counter.pairs = case.trials * _pairs([examples], [indices])
    with torch.no_grad():
        counter.phase = EVALUATION
        batch, _ = array.engine.pack([examples], [indices])
        array.engine.forward(batch, contexts, shared=True)
        counter.phase = None


Counts = dict[str, dict[str, float]]  # phase -> what is counted


def same_work(precision: Precision) -> tuple[Precision, ...]:
    """Return the precisions that differ from this one only in speed."""
    return ("bf16",) if precision == "bf16" else ("fp32", "tf32")


@functools.cache
def counts(case: Case) -> Counts:
    """Return what the page and its JSON hold of a case, with milliseconds by GPU and precision."""
    shown: Counts = {}
    for phase, work in count(case).items():
        shown[phase] = {
            "kernels": work.kernels, "bytes": work.bytes, "flops": work.flops,
            "copies": work.copies, "waits": sum(work.waits.values()),
        }  # fmt: skip
        for gpu in GPUS:
            for precision in same_work(case.precision):
                shown[phase][f"{gpu} {precision}"] = milliseconds(work, gpu, precision)
    return shown


def cases(everything: bool = False) -> list[Case]:
    """Return the cases of the page, or every method, number of trials and precision."""
    training: list[Case] = []
    precision: Precision
    for precision in ("bf16", "fp32"):
        for method in [*ARCHITECTURES, "mixed"]:
            main = method in ("aa", "baseline")
            sizes = ARRAYS if everything or (main and precision == "bf16") else (8,)
            if everything or main or precision == "bf16":
                training += [Case(method, precision, trials) for trials in sizes]
    longest = [Case(method, "bf16", k, 128) for method in ("aa", "baseline") for k in (1, 8, 16)]
    evaluated = [case._replace(evaluated=True) for case in training]
    return [*SMALL, *training, *longest, *evaluated]


ARRAYS = (1, 2, 4, 8, 16)

# Counted again by tests/test_device_work.py.
SMALL = tuple(
    Case(method, "bf16", trials, layers=3) for method in ("aa", "baseline", "mixed")
    for trials in (1, 8)
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path, help="where to keep the counts as JSON")
    parser.add_argument("--all", action="store_true", help="every case, not only the page's")
    options = parser.parse_args()
    counted = {}
    for case in cases(options.all):
        counted[case.key] = counts(case)
        print(case.key, file=sys.stderr)
    commit, dirty = provenance.commit()
    if options.save:
        text = json.dumps({"commit": commit, "cases": counted}, indent=1)
        options.save.write_text(text + "\n")
        return
    page = importlib.import_module("benchmarks.device_work_page")  # earlier commits need none
    before = json.loads(Path(__file__).with_suffix(".json").read_text())
    state = f"{commit}{' (changed)' if dirty else ''}"
    page.write(Path(__file__).with_suffix(".md"), counted, before, state)


if __name__ == "__main__":
    main()
