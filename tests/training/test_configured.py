"""AdapterHub's other methods as trials: LoRA, prefix tuning, full fine-tuning and the rest."""

from collections.abc import Callable

import pytest

from aa_ray.core import backbones, model
from aa_ray.core.architectures import OTHERS
from aa_ray.core.engines import ADAPTERHUB, FUSED
from aa_ray.data.glue import Source
from aa_ray.errors import TrainingError
from aa_ray.training.random_encoders import LAYERS
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial
from tests.encoders import encoder_folder
from tests.training.test_engines import load
from tests.training.test_loop import run_one


def test_joint_projections_have_no_lora_in_bfloat16(make_trial: Callable[..., Trial]) -> None:
    encoder = load("modernbert", precision="bf16", fast_linears=False)
    trial = make_trial(configuration="lora")
    with pytest.raises(TrainingError, match="lora cannot be trained in bf16 on this encoder"):
        model.attach(encoder, [trial], outputs=2)


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_other_adapters_are_rows(kind: str, method: str) -> None:
    from aa_ray.study.trials import make_trial

    folder = str(encoder_folder(kind))
    trial = make_trial(method, "sst2", backbone=folder, epochs=1)
    backbone = backbones.find(folder)
    [[row]] = Worker(backbone, Source("embedded"), (None, None)).run([trial], [method])
    assert row["error"] is None
    fused = kind == "bert" and method == "full-fine-tuning"
    assert row["engine"] == (FUSED if fused else ADAPTERHUB)
    hidden, layers, between = 32, LAYERS, 64
    bottleneck = {
        "houlsby": 2 * (2 * hidden * 2 + hidden + 2),
        "parallel": 2 * hidden * 16 + hidden + 16,
    }
    encoder = model.load(folder)
    count = {
        "lora": layers * 2 * (8 * hidden * 2),  # rank 8 in queries and values
        "ia3": layers * (2 * hidden + between),
        "prefix-tuning": 30 * hidden + 512 * (hidden + 1) + (512 + 1) * layers * 2 * hidden,
        "full-fine-tuning": sum(p.numel() for p in encoder.base_model.parameters()),
    } | {name: layers * size for name, size in bottleneck.items()}
    classifier = 2 * (hidden + 1) + (0 if backbone.pooler else hidden * (hidden + 1))
    assert row["trainable_parameters"] == count[method] + classifier
    adapters = 0 if method == "full-fine-tuning" else count[method]
    assert row["adapter_parameters"] == adapters
    assert row["adapter_layers"] == ([] if not adapters else list(range(layers)))


@pytest.mark.parametrize(
    "configuration",
    ["lora[r=2]|par_bn", "loreft", "compacter[reduction_factor=4]", "vera", "unipelt"],
)
def test_any_configuration_of_adapterhub_trains(
    configuration: str, make_trial: Callable[..., Trial]
) -> None:
    """Only the trial's layers change; the encoder keeps its weights."""
    encoder = load("bert", fast_linears=False)
    before = model.weights_hash(encoder)
    trial = make_trial(
        configuration=configuration, layers=(0, 2) if configuration != "vera" else (0, 1, 2)
    )
    [trial_model] = model.attach(encoder, [trial], outputs=2)
    places = {place for place in trial_model.adapters if "/layer/" in place}
    assert not any("/layer/1/" in place for place in places) or len(trial.layers) == LAYERS
    outcome = run_one(encoder, trial, engine=ADAPTERHUB)
    assert outcome.trainable_parameters == sum(p.numel() for p in trial_model.parameters())
    model.remove_adapters(encoder)
    assert model.weights_hash(encoder) == before


def test_trials_of_both_kinds_take_turns_in_one_worker(make_trial: Callable[..., Trial]) -> None:
    """LoRA needs AdapterHub's linear layers; other methods may use faster ones."""
    from aa_ray.study.trials import make_trial as trial_named

    folder = str(encoder_folder("bert"))
    worker = Worker(backbones.find(folder), Source("embedded"), (None, None))
    rows = []
    for method in ("baseline", "lora", "baseline", "lora"):
        [[row]] = worker.run([trial_named(method, "sst2", backbone=folder, epochs=1)], [method])
        rows.append((row["error"], row["curves"], row["test_metrics"]))
    assert rows[:2] == rows[2:] and rows[0] != rows[1]
