"""aa_ray.sweep.memory: estimated and measured memory, and the resulting choices of ``auto``."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from aa_ray.core import backbones, model
from aa_ray.core.backbones import Backbone
from aa_ray.data.batches import Examples
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import memory
from aa_ray.sweep.memory import ASSUMED_BYTES, MOST_TRIALS, settle
from aa_ray.sweep.resources import CPU_TRIALS, Resources
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.trial import Precision, Trial
from tests.study.test_grid import make_study

GB = 10**9
LARGE = Backbone("bert-large-uncased", "bert-large-uncased", 24, 1024)


def queue(*rows: dict[str, object]) -> TrialQueue:
    return TrialQueue(make_study(backbone=LARGE), rows)


class MaskedDropout(nn.Dropout):
    """Keeps a mask with one byte per element, as dropout does on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.native_dropout(input, self.p, self.training)[0]


def as_on_a_gpu(bert: PreTrainedModel) -> None:
    """Give the model dropout with a byte mask, and attention that keeps no probabilities."""
    for parent in list(bert.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, name, MaskedDropout(child.p))
    for layer in bert.base_model.encoder.layer:
        layer.attention.self.dropout.p = 0.0


def test_a_step_keeps_no_more_than_is_estimated() -> None:
    """Counts bytes on MiniLM with the longest texts, for one trial and for three."""
    minilm = backbones.find("minilm")
    bert = freeze(model.load(minilm.path)).train()
    as_on_a_gpu(bert)
    length, rows = 128, 4  # an eighth of a batch
    examples = Examples.from_lists([[5] * length] * rows, None, np.zeros(rows, dtype=int))
    for count in (1, 3):
        trials = [aa(minilm)] * count
        trial_models = model.attach(bert, trials, outputs=2)
        batch, _ = unpadded.pack([examples] * count, [np.arange(rows)] * count, torch.device("cpu"))
        frozen = {p.untyped_storage().data_ptr() for p in bert.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor, kept: dict[int, int] = kept, frozen: set[int] = frozen) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in frozen:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        cpu = torch.device("cpu")
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            side_by_side.forward(
                bert, batch, [TrialContext(m, noise=m.draw_gumbel(rows, cpu)) for m in trial_models]
            )
        share = memory.BATCH_TOKENS / (length * rows)
        estimated = memory.of_trial(minilm, "fp32") * count / share
        assert 0.65 * estimated < sum(kept.values()) < 1.05 * estimated


def aa(backbone: Backbone) -> Trial:
    study = make_study(methods=("aa",), backbone=backbone)
    return study.trial(study.cells[0], [])


def test_weights_of_the_papers_backbone() -> None:
    assert memory.of_weights(LARGE, "fp32") == pytest.approx(1.34e9, rel=0.03)  # 335 M parameters
    assert memory.of_weights(LARGE, "bf16") == memory.of_weights(LARGE, "fp32") // 2


def test_numbers_stay_what_they_are() -> None:
    found = settle(Resources(gpus_per_trial=0.3, fuse=5, cpus_per_trial=2), queue(), [80 * GB])
    assert (found.gpus_per_trial, found.fuse, found.cpus_per_trial) == (0.3, 5, 2)


@pytest.mark.parametrize("cpu_fuse", [1, CPU_TRIALS])
def test_without_gpus(cpu_fuse: int) -> None:
    resources = Resources(gpus_per_trial=None, fuse=None, cpu_fuse=cpu_fuse)
    for gpus_per_trial, gpus in ((None, []), (0.0, [80 * GB])):
        asked = dataclasses.replace(resources, gpus_per_trial=gpus_per_trial)
        settled = settle(asked, queue(), gpus)
        assert (settled.gpus_per_trial, settled.fuse) == (0.0, cpu_fuse)


def need(fuse: int, precision: Precision = "fp32") -> int:
    """Return the bytes of a process with this many trials side by side."""
    fixed = memory.of_weights(LARGE, precision) + memory.CONTEXT_BYTES
    return fixed + fuse * memory.of_trial(LARGE, precision)


@pytest.mark.parametrize(
    ("precision", "gb", "fuse"),
    [("fp32", 85, 10), ("bf16", 85, 20), ("fp32", 24, 2), ("bf16", 24, 5)],
)
def test_groups_of_bert_large(precision: Precision, gb: int, fuse: int) -> None:
    """Sizes are those that fit a simulated step, on a GPU of 80 GiB and on one of 24 GB."""
    study = make_study(backbone=LARGE, precision=precision)
    auto = Resources(gpus_per_trial=None, fuse=None)
    settled = settle(auto, TrialQueue(study, []), [gb * GB])
    assert (settled.gpus_per_trial, settled.fuse) == (1.0, fuse)
    assert need(fuse, precision) < gb * GB
    assert settled.memory_bytes == gb * GB


def test_what_the_largest_group_leaves_goes_to_more_processes() -> None:
    settled = settle(Resources(gpus_per_trial=None, fuse=None), queue(), [1000 * GB])
    assert settled.fuse == MOST_TRIALS and settled.gpus_per_trial < 0.5
    assert need(MOST_TRIALS) < settled.memory_bytes


def test_the_smallest_gpu_decides() -> None:
    asked = Resources(gpus_per_trial=None, fuse=None)
    assert settle(asked, queue(), [80 * GB, 24 * GB]) == settle(asked, queue(), [24 * GB])


def test_shares_of_a_gpu_for_arrays_of_a_given_size() -> None:
    for fuse, least in ((1, 4), (4, 1)):
        found = settle(Resources(gpus_per_trial=None, fuse=fuse), queue(), [80 * GB])
        assert found.gpus_per_trial is not None
        shares = round(1 / found.gpus_per_trial)
        assert shares >= least and found.gpus_per_trial == pytest.approx(1 / shares)
        need = memory.of_weights(LARGE, "fp32") + fuse * memory.of_trial(LARGE, "fp32")
        assert shares * need < 80 * GB


def test_no_gpu_is_left_without_processes() -> None:
    """With eight cores and shares of an eighth, Ray would put all processes on its first GPU."""
    auto = Resources(gpus_per_trial=None, fuse=None)
    per_gpu = memory.processes_per_gpu
    assert per_gpu(auto, [{"CPU": 8, "GPU": 4}, {"CPU": 64}]) == 2
    assert per_gpu(auto, [{"CPU": 64, "GPU": 4}, {"CPU": 4, "GPU": 1}]) == 4
    assert per_gpu(auto, [{"CPU": 2, "GPU": 4}]) == 1
    assert per_gpu(auto, [{"CPU": 64}]) == per_gpu(auto, [{"CPU": 640, "GPU": 1}])
    assert per_gpu(dataclasses.replace(auto, cpus_per_trial=4), [{"CPU": 16, "GPU": 1}]) == 4
    assert per_gpu(dataclasses.replace(auto, max_concurrent=3), [{"CPU": 16, "GPU": 2}]) == 2
    settled = settle(auto, queue(), [1000 * GB], shares=2)
    assert settled.gpus_per_trial == 0.5


def row(task: str, **changes: object) -> dict[str, object]:
    return {
        "trial_id": task, "status": "finished", "backbone": LARGE.identity, "method": "aa",
        "task": task, "regime": "100", "selected_layers": [0], "train_seconds": 1.0,
        "test_seconds": 1.0, "array": ["x"] * 8, "device": "NVIDIA H100", "precision": "fp32",
    } | changes  # fmt: skip


WHOLE = Resources(gpus_per_trial=1.0, fuse=None)


def fuse_of(task: str, *rows: dict[str, object]) -> int:
    study = make_study(backbone=LARGE, tasks=("cola", "rte"))
    return settle(WHOLE, TrialQueue(study, rows), [40 * GB]).fuse_by_task[task]


def test_measured_trials_count_more_than_the_estimate() -> None:
    """Only measurements of the same task and precision on a GPU count."""
    peak = memory.of_weights(LARGE, "fp32") + 8 * 2 * GB
    unmeasured = fuse_of("cola")
    measured = fuse_of("cola", row("cola", peak_memory_bytes=peak))
    room = memory.USABLE * 40 * GB - need(0)
    assert measured == int(room / (memory.MARGIN * 2 * GB)) > unmeasured
    small = {"peak_memory_bytes": 2 * GB}
    for other in (
        row("rte", **small),
        row("cola", **small, precision="bf16"),
        row("cola", **small, precision=None),
        row("cola", **small, device="cpu, 8 threads"),
    ):
        assert fuse_of("cola", other) == unmeasured


def test_what_was_too_much_is_not_tried_again() -> None:
    """9 trials were too many on a GPU of 40 GB, so a group has 5.

    A failure on a smaller GPU does not limit a larger one.
    """
    failed = {"too_many_trials": 9, "peak_memory_bytes": 5 * GB}
    assert fuse_of("cola", row("cola", **failed, device_memory_bytes=40 * GB)) == 5
    assert fuse_of("cola", row("cola", **failed, device_memory_bytes=80 * GB)) == 5
    assert fuse_of("cola", row("cola", **failed, device_memory_bytes=24 * GB)) > 9
    assert fuse_of("rte", row("cola", **failed, device_memory_bytes=40 * GB)) == fuse_of("rte")


def test_a_group_is_no_larger_than_what_has_fitted_meanwhile() -> None:
    study = make_study(methods=("baseline",), backbone=LARGE, tasks=("cola",))
    trials = TrialQueue(study, [])
    settled = settle(Resources(gpus_per_trial=1.0, fuse=12), trials, [40 * GB])
    trial = study.trial(study.cells[0], [])
    assert memory.group_size(settled, trials, trial) == 12
    trials.record(row("cola", too_many_trials=12, device_memory_bytes=40 * GB))
    assert memory.group_size(settled, trials, trial) == 6


def test_a_cluster_that_may_grow() -> None:
    kinds = {"cpu": {"resources": {"CPU": 8}}, "gpu": {"resources": {"CPU": 8, "GPU": 4}}}
    assert memory.has_gpus({"available_node_types": kinds})
    assert not memory.has_gpus({"available_node_types": {"cpu": kinds["cpu"]}})
    assert not memory.has_gpus(None)
    assert settle(Resources(gpus_per_trial=None), queue(), [ASSUMED_BYTES]).gpus_per_trial


def test_bf16_has_room_for_more() -> None:
    half = TrialQueue(make_study(backbone=LARGE, precision="bf16"), [])
    asked = Resources(gpus_per_trial=1.0, fuse=None)
    assert settle(asked, half, [40 * GB]).fuse > settle(asked, queue(), [40 * GB]).fuse
