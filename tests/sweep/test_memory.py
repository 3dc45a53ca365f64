"""aa_ray.sweep.memory: what is estimated, what was measured, and what follows for ``auto``."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aa_ray.core import backbones, model
from aa_ray.core.backbones import Backbone
from aa_ray.data.batches import Examples
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep import memory
from aa_ray.sweep.memory import ASSUMED_BYTES, CPU_TRIALS, MOST_TRIALS, settle
from aa_ray.sweep.resources import Resources
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.trial import Trial
from tests.study.test_grid import make_study

GB = 10**9
LARGE = Backbone("bert-large-uncased", "bert-large-uncased", 24, 1024)


def queue(*rows: dict[str, object]) -> TrialQueue:
    return TrialQueue(make_study(backbone=LARGE), rows)


def test_a_step_keeps_no_more_than_is_estimated() -> None:
    """Counted on MiniLM, with the longest texts, for one trial and for three."""
    minilm = backbones.find("minilm")
    bert = freeze(model.load(minilm.path)).train()
    length, rows = 128, 4  # an eighth of a batch
    examples = Examples([[5] * length] * rows, [[0] * length] * rows, np.zeros(rows, dtype=int))
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
        assert 0.75 * estimated < sum(kept.values()) < 1.05 * estimated


def aa(backbone: Backbone) -> Trial:
    study = make_study(methods=("aa",), backbone=backbone)
    return study.trial(study.cells[0], [])


def test_weights_of_the_papers_backbone() -> None:
    assert memory.of_weights(LARGE, "fp32") == pytest.approx(1.34e9, rel=0.03)  # 335 M parameters
    assert memory.of_weights(LARGE, "bf16") == memory.of_weights(LARGE, "fp32") // 2


def test_numbers_stay_what_they_are() -> None:
    found = settle(Resources(gpus_per_trial=0.3, fuse=5, cpus_per_trial=2), queue(), [80 * GB])
    assert (found.gpus_per_trial, found.fuse, found.cpus_per_trial) == (0.3, 5, 2)


def test_without_gpus() -> None:
    found = settle(Resources(gpus_per_trial=None, fuse=None), queue(), [])
    assert (found.gpus_per_trial, found.fuse) == (0.0, CPU_TRIALS)


def test_one_large_array_per_gpu() -> None:
    sizes = [settle(Resources(gpus_per_trial=None, fuse=None), queue(), [gb * GB])
             for gb in (16, 24, 80, 1000)]  # fmt: skip
    assert all(found.gpus_per_trial == 1.0 for found in sizes)
    fuses = [found.fuse for found in sizes]
    assert fuses == sorted(fuses) and fuses[0] == 1 and fuses[-1] == MOST_TRIALS
    for found, gb in zip(sizes, (16, 24, 80), strict=False):
        need = memory.of_weights(LARGE, "fp32") + found.fuse * memory.of_trial(LARGE, "fp32")
        assert need < gb * GB


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


def test_measured_trials_count_more_than_the_estimate() -> None:
    def row(peak: float, trials: int, device: str) -> dict[str, object]:
        return {
            "trial_id": device, "status": "finished", "backbone": LARGE.identity, "method": "aa",
            "task": "cola", "regime": "100", "selected_layers": [0], "train_seconds": 1.0,
            "test_seconds": 1.0, "array": ["x"] * trials, "device": device,
            "peak_memory_bytes": int(peak),
        }  # fmt: skip

    asked = Resources(gpus_per_trial=1.0, fuse=None)
    weights = memory.of_weights(LARGE, "fp32")
    measured = queue(row(weights + 8 * 2 * GB, 8, "NVIDIA H100"), row(90 * GB, 1, "cpu, 8 threads"))
    assert settle(asked, measured, [40 * GB]).fuse == int((0.8 * 40 * GB - weights) / (2 * GB))
    assert settle(asked, queue(), [40 * GB]).fuse < settle(asked, measured, [40 * GB]).fuse


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
