"""The classifier reads what transformers' does: the pooler's output or the mean of all tokens."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from aa_ray.core import backbones, model
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.training import side_by_side, unpadded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.worker import Worker
from aa_ray.trial import Pooling, Trial
from tests.training.test_against_adapterhub import CPU, LENGTHS, some_examples


@pytest.fixture
def bert(tiny: Backbone) -> BertForSequenceClassification:
    return freeze(model.load(tiny.path)).eval()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_classifier_reads_what_transformers_gives(
    bert: BertForSequenceClassification,
    make_trial: Callable[..., Trial],
    pooling: Pooling,
    shared: bool,
) -> None:
    """Padding and spare tokens are left out, and trials side by side keep to their own examples."""
    trials = [make_trial(layers=layers, pooling=pooling) for layers in ((0,), (2,), ())]
    trial_models = model.attach(bert, trials, outputs=2)
    examples = some_examples()
    indices = np.arange(len(examples))
    copies = 1 if shared else len(trials)
    batch, _ = unpadded.pack([examples] * copies, [indices] * copies, CPU)
    contexts = [TrialContext(trial_model) for trial_model in trial_models]
    with torch.inference_mode():
        logits = side_by_side.forward(bert, batch, contexts, shared=shared)
        for trial_model, of_trial in zip(trial_models, logits, strict=True):
            bert.set_active_adapters(trial_model.name)
            for i, length in enumerate(LENGTHS):
                inputs = {
                    "input_ids": torch.tensor([examples.id_lists()[i]]),
                    "token_type_ids": torch.tensor([examples.segment_lists()[i]]),
                }
                output = bert.base_model(**inputs)
                assert output.last_hidden_state.shape[1] == length
                pooled = output.pooler_output
                if pooling == "mean":
                    pooled = output.last_hidden_state.mean(dim=1)
                expected = trial_model.classifier(pooled)[0]
                assert torch.allclose(of_trial[i], expected, atol=1e-5)
            bert.set_active_adapters(None)


def test_pooling_is_another_trial_on_the_same_weights(
    tiny: Backbone, make_trial: Callable[..., Trial]
) -> None:
    worker = Worker(tiny, Source("embedded"), (None, None))
    trials = [make_trial(pooling=pooling, epochs=2) for pooling in ("cls", "mean")]
    assert trials[0].id == make_trial(epochs=2).id != trials[1].id
    assert trials[0].fuse_key != trials[1].fuse_key
    rows = [worker.run([trial], ["baseline"])[0][0] for trial in trials]
    assert rows[0]["backbone_sha256"] == rows[1]["backbone_sha256"]
    assert rows[0]["curves"][1]["train_loss"] != rows[1]["curves"][1]["train_loss"]


def test_the_packaged_minilm_is_read_as_it_was_trained() -> None:
    minilm = backbones.find("minilm")
    assert minilm.pooling == "mean" and not backbones.pooler_is_trained(minilm)


@pytest.mark.parametrize("change", ["biases", "weights", "missing"])
def test_whether_a_pooler_was_trained(change: str, tiny: Backbone, tmp_path: Path) -> None:
    assert tiny.pooling == "cls" and backbones.pooler_is_trained(tiny)
    copy = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    tensors["pooler.dense.bias"].zero_()  # its initial value
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert not backbones.pooler_is_trained(backbones.find.__wrapped__(str(copy)))
    if change == "biases":
        tensors["pooler.dense.bias"][3] = 0.01
    elif change == "weights":  # one direction stands out from the noise
        tensors["pooler.dense.weight"] += 0.3 * torch.ones(32, 1) @ torch.ones(1, 32)
    else:
        del tensors["pooler.dense.weight"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    trained = backbones.pooler_is_trained(backbones.find.__wrapped__(str(copy)))
    assert trained == (change != "missing")


def test_a_folder_of_sentence_transformers_says_how_it_is_read(
    tiny: Backbone, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    found = backbones.find(str(copy))
    assert found.pooling == "mean" and found.identity != tiny.identity
