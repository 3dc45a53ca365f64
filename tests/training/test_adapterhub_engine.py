"""The engine ``adapterhub``: heads, groups, interruptions and precision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters.heads import ClassificationHead

from aa_ray.core import backbones, heads, model
from aa_ray.core.engines import ADAPTERHUB
from aa_ray.store.storage import Folder
from aa_ray.training.checkpoints import Checkpoint
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import make
from aa_ray.training.outcome import Outcome
from aa_ray.training.random_encoders import TYPES
from aa_ray.trial import Trial
from tests.encoders import encoder_folder
from tests.training.test_against_adapterhub import (
    gradients,
    relative,
)
from tests.training.test_checkpoints import Killed, Mortal
from tests.training.test_engines import EVERYTHING, examples_for, load, logits_of
from tests.training.test_loop import run_array, run_one


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("albert", "bert")])
def test_cls_is_read_by_adapterhubs_own_head(kind: str, make_trial: Callable[..., Trial]) -> None:
    encoder = load(kind).eval()
    [trial_model] = model.attach(encoder, [make_trial()], outputs=2)
    head = trial_model.classifier
    assert (
        isinstance(head, ClassificationHead)
        and not backbones.find(str(encoder_folder(kind))).pooler
    )
    engine = make(ADAPTERHUB, encoder)
    batch, _ = engine.pack([examples_for(encoder)], [EVERYTHING])
    with torch.no_grad():
        [logits] = engine.forward(batch, [TrialContext(trial_model)])
        for group in batch.groups[0]:
            outputs = encoder.base_model(**group.inputs)
            expected = head.eval()(outputs, return_dict=True).logits
            assert torch.allclose(logits[group.examples], expected, atol=1e-6)


def test_mean_is_what_the_head_of_exported_adapters_reads(make_trial: Callable[..., Trial]) -> None:
    encoder = load("distilbert").eval()
    [trial_model] = model.attach(encoder, [make_trial(pooling="mean")], outputs=2)
    engine = make(ADAPTERHUB, encoder)
    batch, _ = engine.pack([examples_for(encoder)], [EVERYTHING])
    head = heads.MeanPoolingHead(encoder, "head", num_labels=2, layers=1)
    [linear] = heads.linears(head)
    linear.load_state_dict(trial_model.classifier.state_dict())
    with torch.no_grad():
        [logits] = engine.forward(batch, [TrialContext(trial_model)])
        for group in batch.groups[0]:
            outputs = encoder.base_model(**group.inputs)
            mask = group.inputs["attention_mask"]
            expected = head.eval()(outputs, attention_mask=mask, return_dict=True).logits
            assert torch.allclose(logits[group.examples], expected, atol=1e-6)


def test_adapterhub_runs_trials_of_a_group_as_each_alone(make_trial: Callable[..., Trial]) -> None:
    changes: list[dict[str, Any]] = [
        {"layers": (0, 2)}, {"switched": True, "seed": 7}, {"layers": ()},
    ]  # fmt: skip
    trials = [make_trial(**change) for change in changes]
    encoder = load("distilbert")
    together = run_array(encoder, trials, engine=ADAPTERHUB)
    for trial, outcome in zip(trials, together, strict=True):
        assert isinstance(outcome, Outcome)
        alone = run_one(encoder, trial, engine=ADAPTERHUB)
        assert alone.history == outcome.history
        assert alone.evaluations[0].test == outcome.evaluations[0].test


@pytest.mark.parametrize("configuration", ["", "lora"])
def test_an_interrupted_run_on_adapterhub_goes_on_as_if_nothing_had_happened(
    configuration: str, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    """Dropout is on; its stream of random numbers resumes too."""
    trial = make_trial(epochs=2, configuration=configuration, switched=not configuration)
    encoder = freeze(model.load(str(encoder_folder("distilbert"))), fast_linears=False)
    undisturbed = run_one(encoder, trial, engine=ADAPTERHUB)
    folder = Folder(str(tmp_path))
    with pytest.raises(Killed):
        run_one(encoder, trial, engine=ADAPTERHUB, keeper=Mortal(folder, [trial]))
    state = Checkpoint(folder, [trial]).load()
    assert state is not None and state.epoch == 1
    resumed = run_one(encoder, trial, engine=ADAPTERHUB, resumed=state)
    assert resumed.history == undisturbed.history
    assert resumed.evaluations[0].test == undisturbed.evaluations[0].test


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert", "distilbert"])
@pytest.mark.parametrize("configuration", ["", "lora", "prefix_tuning"])
def test_adapterhub_computes_in_bfloat16(
    kind: str, configuration: str, make_trial: Callable[..., Trial]
) -> None:
    """Trained parameters stay in float32, and the logits are close to those of float32."""
    if kind == "modernbert" and configuration:
        pytest.skip("AdapterHub has no prefix tuning for it; for LoRA see below")
    trial, results = make_trial(configuration=configuration), []
    for precision in ("fp32", "bf16"):
        encoder = load(kind, precision=precision, fast_linears=False).eval()
        [trial_model] = model.attach(encoder, [trial], outputs=2)
        assert {p.dtype for p in trial_model.parameters()} == {torch.float32}
        logits, labels = logits_of(make(ADAPTERHUB, encoder), trial_model, 0, None)
        assert any(value.any() for value in gradients(logits, labels, trial_model).values())
        results.append(logits.detach())
    assert relative(*results) < 0.1
