"""The two engines give the same logits, gradients, metrics and histograms on all architectures."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from aa_ray.core import backbones, engines, model
from aa_ray.core.encoders import BERT_LAYERS
from aa_ray.core.engines import ADAPTERHUB, AUTO, FUSED
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.training import histograms, padded
from aa_ray.training.context import TrialContext
from aa_ray.training.cpu_layers import freeze
from aa_ray.training.engine import Engine, make
from aa_ray.training.random_encoders import LAYERS, POSITIONS, TYPES, without_dropout
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial
from tests.encoders import encoder_folder
from tests.training.test_against_adapterhub import (
    METHODS,
    TOLERANCE,
    attached,
    gradients,
    relative,
    some_examples,
)
from tests.training.test_loop import run_one

EVERYTHING = np.arange(len(some_examples()))


def load(kind: str, **settings: Any) -> PreTrainedModel:
    return without_dropout(freeze(model.load(str(encoder_folder(kind))), **settings))


@pytest.fixture(scope="module")
def encoders() -> Callable[[str], dict[str, PreTrainedModel]]:
    """Return a function that loads a model of a type for each engine."""
    loaded: dict[str, dict[str, PreTrainedModel]] = {}

    def of(kind: str) -> dict[str, PreTrainedModel]:
        if kind not in loaded:
            loaded[kind] = {name: load(kind) for name in (FUSED, ADAPTERHUB)}
        return loaded[kind]

    return of


def examples_for(encoder: PreTrainedModel) -> Examples:
    examples = some_examples()
    if model.reads_segments(encoder):
        return examples
    return replace(examples, token_type_ids=np.zeros_like(examples.token_type_ids))


def logits_of(engine: Engine, trial_model: Any, first_layer: int, noise: Any) -> tuple[Any, Any]:
    """Return logits [examples, 2] and labels."""
    batch, [labels] = engine.pack([examples_for(engine.encoder)], [EVERYTHING])
    [logits] = engine.forward(batch, [TrialContext(trial_model, first_layer, noise)])
    return logits, labels


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", BERT_LAYERS)
def test_both_engines_have_the_same_logits_and_gradients(
    encoders: Callable[[str], dict[str, PreTrainedModel]], make_trial: Callable[..., Trial],
    kind: str, method: str, training: bool,
) -> None:  # fmt: skip
    trial = make_trial(**METHODS[method])
    of_engine: dict[str, tuple[Engine, Any]] = {}
    for name, encoder in encoders(kind).items():
        trial_model = attached(encoder, trial)
        encoder.train(training)
        of_engine[name] = make(name, encoder), trial_model
    _, ours = of_engine[FUSED]
    noise = ours.draw_gumbel(len(EVERYTHING), torch.device("cpu")) if training else None
    for depth in trial.depths(LAYERS):
        (logits, labels), (expected, _) = (
            logits_of(engine, m, LAYERS - depth, noise) for engine, m in of_engine.values()
        )
        assert relative(logits, expected) < TOLERANCE
        (of_fused, of_adapterhub) = (
            gradients(x, labels, m)
            for x, (_, m) in zip((logits, expected), of_engine.values(), strict=True)
        )
        for name, value in of_adapterhub.items():
            assert relative(of_fused[name], value) < 5 * TOLERANCE, name
        assert of_adapterhub[
            "classifier." + dict(ours.classifier.named_parameters()).popitem()[0]
        ].any()


@pytest.mark.parametrize("kind", TYPES)
def test_frozen_layers_are_those_of_transformers(kind: str) -> None:
    """Without an adapter, a model prepared by AdapterHub computes the same as before."""
    folder = encoder_folder(kind)
    plain, adapted = AutoModel.from_pretrained(folder).eval(), model.load(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["a great film", "the plot is dull"], return_tensors="pt", padding=True)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        expected, hidden = plain(**inputs)[0], adapted.base_model(**inputs)[0]
    assert torch.allclose(hidden[real], expected[real], atol=1e-5)
    assert model.weights_hash(adapted) == model.weights_hash(model.load(str(folder)))


@pytest.mark.parametrize("kind", TYPES)
def test_a_study_runs_on_every_encoder(kind: str) -> None:
    """Covers the way from names to rows: tokeniser, training with dropout, test, histograms."""
    from aa_ray.study.trials import make_trial

    folder = str(encoder_folder(kind))
    method = "rational-only" if kind == "albert" else "aa"
    trial = make_trial(method, "sst2", backbone=folder, epochs=1)
    backbone = backbones.find(folder)
    [[row]] = Worker(backbone, Source("embedded"), (None, None)).run([trial], [method])
    assert row["error"] is None
    assert row["engine"] == (FUSED if kind in BERT_LAYERS else ADAPTERHUB)
    layers = 1 if kind == "albert" else LAYERS
    assert row["num_layers"] == backbone.num_layers == layers
    assert backbone.passes == LAYERS // layers
    assert row["adapter_layers"] == list(range(layers))
    logits = row["switch_logits"]
    assert (logits is None) == (kind == "albert")
    if logits is not None:
        assert logits[0] != logits[1]
    hidden, bottleneck = 32, 2
    adapter = 2 * hidden * bottleneck + hidden + bottleneck + 10 + 2 * (method == "aa")
    head = 2 * (hidden + 1) + (0 if backbone.pooler else hidden * (hidden + 1))
    assert row["trainable_parameters"] == layers * adapter + head


@pytest.mark.parametrize("settings", [{}, {"switched": True, "activation": "rational:one"},
                                      {"inference_depths": (1, 3)}], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_training_run_ends_in_the_same_metrics(
    kind: str, settings: dict[str, Any], make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial(epochs=3, **settings)
    fused, of_adapterhub = (run_one(load(kind), trial, engine=e) for e in (FUSED, ADAPTERHUB))
    for ours, theirs in zip(fused.history[1:], of_adapterhub.history[1:], strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
        assert ours.development == theirs.development
        for layer, logits in ours.logits.items():
            assert logits == pytest.approx(theirs.logits[layer], abs=1e-3)
    for ours_, theirs_ in zip(fused.evaluations, of_adapterhub.evaluations, strict=True):
        assert (ours_.test, ours_.best_epoch) == (theirs_.test, theirs_.best_epoch)
        assert ours_.selected_layers == theirs_.selected_layers
        assert ours_.adapter_parameters == theirs_.adapter_parameters


@pytest.mark.parametrize("settings", [{"activation": "rational:one", "switched": True},
                                      {"pooling": "mean"}], ids=str)  # fmt: skip
def test_both_engines_agree_in_bfloat16(
    settings: dict[str, Any], make_trial: Callable[..., Trial]
) -> None:
    trial, results = make_trial(precision="bf16", **settings), []
    for name in (FUSED, ADAPTERHUB):
        encoder = load("roberta", precision="bf16").eval()
        trial_model = attached(encoder, trial)
        logits, labels = logits_of(make(name, encoder), trial_model, 0, None)
        assert logits.dtype == torch.float32
        of_name = gradients(logits, labels, trial_model)
        assert {value.dtype for value in of_name.values()} == {torch.float32}
        results.append(logits)
    assert relative(*results) < 0.05


@pytest.mark.parametrize("kind", ["distilbert", "deberta-v2", "modernbert"])
def test_groups_of_like_length_change_nothing(
    kind: str, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in groups, with noise per example, matches one batch padded to its longest."""
    encoder = load(kind).train()
    trial_model = attached(encoder, make_trial(switched=True))
    noise = trial_model.draw_gumbel(len(EVERYTHING), torch.device("cpu"))
    results = []
    for size in (3, len(EVERYTHING)):
        monkeypatch.setitem(padded.GROUP_SIZE, "cpu", size)
        logits, labels = logits_of(make(ADAPTERHUB, encoder), trial_model, 1, noise)
        results.append((logits, gradients(logits, labels, trial_model)))
    (logits, grouped), (expected, whole) = results
    assert relative(logits, expected) < TOLERANCE
    for name, value in whole.items():
        assert relative(grouped[name], value) < 5 * TOLERANCE, name


def test_histograms_are_the_same(make_trial: Callable[..., Trial]) -> None:
    trial, by_engine = make_trial(activation="rational:one", layers=(0, 2)), []
    for name in (FUSED, ADAPTERHUB):
        encoder = load("roberta")
        trial_model = attached(encoder, trial)
        context = TrialContext(trial_model)
        part = examples_for(encoder)
        by_engine.append(histograms.of_inputs(make(name, encoder), context, part))
    ours, theirs = by_engine
    assert set(ours) == set(theirs) == {0, 2}
    tokens = some_examples().lengths.sum()
    for layer in ours:
        assert ours[layer].low == pytest.approx(theirs[layer].low, rel=1e-4)
        assert ours[layer].high == pytest.approx(theirs[layer].high, rel=1e-4)
        assert sum(ours[layer].counts) == sum(theirs[layer].counts) == 2 * tokens


@pytest.mark.parametrize("name", [FUSED, ADAPTERHUB])
def test_a_padding_token_within_a_text_has_the_position_that_roberta_gives_it(
    name: str, make_trial: Callable[..., Trial]
) -> None:
    encoder = load("roberta").eval()
    [trial_model] = model.attach(encoder, [make_trial(layers=())], outputs=2)
    ids = [0, 17, 1, 23, 1, 42, 2]
    examples = Examples.from_lists([ids, [0, 5, 2]], None, np.array([0, 1]))
    engine = make(name, encoder)
    batch, _ = engine.pack([examples], [np.arange(2)])
    with torch.no_grad():
        [logits] = engine.forward(batch, [TrialContext(trial_model)])
        hidden = encoder.base_model(torch.tensor([ids]))[0]
        expected = trial_model.classifier.eval()((hidden,), return_dict=False)[0]
    assert torch.allclose(logits[:1], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert"])
def test_texts_are_cut_to_the_positions_that_the_encoder_has(
    kind: str, make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(kind)
    assert model.most_tokens(encoder) == POSITIONS
    engine: Engine = make(ADAPTERHUB, encoder)
    longest = Examples.from_lists([[7] * POSITIONS], None, np.array([0]))
    [trial_model] = model.attach(encoder, [make_trial(layers=())], outputs=2)
    batch, _ = engine.pack([longest], [np.arange(1)])
    assert engine.forward(batch, [TrialContext(trial_model)]).isfinite().all()
    longer = Examples.from_lists([[7] * (POSITIONS + 1)], None, np.array([0]))
    batch, _ = engine.pack([longer], [np.arange(1)])
    with pytest.raises((IndexError, RuntimeError)):
        engine.forward(batch, [TrialContext(trial_model)])


def test_which_engine_applies() -> None:
    bert, distilbert = (backbones.find(str(encoder_folder(k))) for k in ("bert", "distilbert"))
    assert engines.engine_for(AUTO, bert) == FUSED
    assert (
        engines.engine_for(ADAPTERHUB, bert) == engines.engine_for(AUTO, bert, "lora") == ADAPTERHUB
    )
    assert engines.engine_for(AUTO, distilbert) == ADAPTERHUB
    with pytest.raises(UsageError, match=r"--engine fused: tiny-distilbert.* does not have BERT"):
        engines.engine_for(FUSED, distilbert)
    with pytest.raises(UsageError, match=r"adaptable adapters only, not lora; use auto or adapter"):
        engines.engine_for(FUSED, bert, "lora")
