"""The method in custom scripts: trainers, plain loops, checkpointing, bfloat16 and the compiler."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import adapters
import pytest
import torch
from torch import Tensor
from transformers import BertForSequenceClassification, Trainer, TrainingArguments

import aa_ray
from aa_ray.core.adapter import bottleneck_layers, hard_weights
from tests import tiny_encoders
from tests.tiny_encoders import ENCODERS, batch, encoder, logits

# Rates at which the switches of three layers diverge within a few steps.
RATES: dict[str, Any] = {
    "learning_rate": 0.01,
    "rational_learning_rate": 0.05,
    "switch_learning_rate": 0.3,
}
DATA = [dict(zip(batch(), row, strict=True)) for row in zip(*batch(32).values(), strict=True)]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    settings: dict[str, Any] = {
        "num_train_epochs": 3, "per_device_train_batch_size": 8, "eval_strategy": "epoch",
        "save_strategy": "epoch", "load_best_model_at_end": True, "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "label_names": ["labels"],
    }  # fmt: skip
    return TrainingArguments(str(folder), **(settings | changes))


def trainer_of(kind: type[Trainer], model: Any, folder: Path, **changes: Any) -> Trainer:
    accelerate = pytest.importorskip("accelerate", reason="transformers' Trainer needs it")
    # Both states keep the precision of the process's first trainer.
    accelerate.state.AcceleratorState._reset_state(True)
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    return kind(
        model=model,
        args=arguments(folder, **changes),
        train_dataset=DATA,
        eval_dataset=DATA,
        optimizers=aa_ray.optimizers(model, "sst2", **RATES),
    )


def train(kind: type[Trainer], model: Any, folder: Path, **changes: Any) -> Trainer:
    trainer = trainer_of(kind, model, folder, **changes)
    trainer.train()
    return trainer


def switches(state: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in state.items() if name.endswith("switch.logits")]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    "changes", [{}, {"bf16": True, "gradient_checkpointing": True}], ids=["float32", "bf16"]
)
def test_adapter_trainer(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """The trainer restores the saved switches of the best epoch and selects layers by them."""
    model = encoder(name, aa_ray.AdaptableConfig(temperature=0.5))
    trainer = train(adapters.AdapterTrainer, model, tmp_path, **changes)
    best = trainer.state.best_model_checkpoint
    assert best is not None
    state = torch.load(Path(best) / "sst2" / "pytorch_adapter.bin")
    saved = switches(state)
    assert len(saved) == 3 and all(pair.tolist() != [0.5, 0.5] for pair in saved)
    assert all(value.dtype == torch.float32 for value in state.values())
    ours = [layer.adapters["sst2"].switch.logits for layer in bottleneck_layers(model, "sst2")]
    assert torch.equal(torch.stack(ours), torch.stack(saved))
    expected = [k for k, pair in enumerate(saved) if hard_weights(pair)[1] == 1]
    assert aa_ray.selected_layers(model, "sst2") == expected
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [0, 0, 0]
    assert [group["initial_lr"] for group in trainer.optimizer.param_groups] == [*RATES.values()]


def test_adapter_trainer_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """A run resumes with switches, Adam's moments of all three groups, and that step's rates."""
    model = encoder("bert", aa_ray.AdaptableConfig())
    first = train(adapters.AdapterTrainer, model, tmp_path, load_best_model_at_end=False)
    other = encoder("bert", aa_ray.AdaptableConfig(), seed=1)
    again = trainer_of(adapters.AdapterTrainer, other, tmp_path, load_best_model_at_end=False)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))  # the last one
    for result, expected in zip(
        switches(other.state_dict()), switches(model.state_dict()), strict=True
    ):
        assert torch.equal(result, expected)
    moments, expected_moments = again.optimizer.state_dict(), first.optimizer.state_dict()
    assert moments["param_groups"] == expected_moments["param_groups"]
    for number, state in expected_moments["state"].items():
        assert torch.equal(moments["state"][number]["exp_avg"], state["exp_avg"])


@pytest.mark.parametrize("flexible", [True, False])
def test_transformers_trainer(flexible: bool, tmp_path: Path) -> None:
    """Covers a model with AdapterHub's heads and a transformers model after ``adapters.init``."""
    if flexible:
        model = encoder("bert", aa_ray.AdaptableConfig())
    else:
        model = BertForSequenceClassification(tiny_encoders.config("bert"))
        adapters.init(model)
        aa_ray.add_adapter(model, "sst2")
        model.train_adapter("sst2")
    trainer = train(Trainer, model, tmp_path)
    best = trainer.state.best_model_checkpoint
    assert best is not None
    if flexible:
        loaded = type(model).from_pretrained(best)
        loaded.set_active_adapters("sst2")
        torch.testing.assert_close(logits(loaded), logits(model))
        assert aa_ray.selected_layers(loaded, "sst2") == aa_ray.selected_layers(model, "sst2")
    assert all(pair.tolist() != [0.5, 0.5] for pair in switches(model.state_dict()))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_plain_loop(name: str) -> None:
    model = encoder(name, aa_ray.AdaptableConfig())
    frozen = {key: p.clone() for key, p in model.named_parameters() if not p.requires_grad}
    optimizer, scheduler = aa_ray.optimizers(model, "sst2", steps=40, **RATES)
    assert scheduler is not None
    losses = []
    labels = torch.arange(32) % 2
    for _ in range(40):
        loss = model(input_ids=(10 + labels)[:, None].repeat(1, 7), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    after = dict(model.named_parameters())
    assert all(torch.equal(after[key], value) for key, value in frozen.items())
    assert all(pair.tolist() != [0.5, 0.5] for pair in switches(model.state_dict()))


def gradients(model: Any, precision: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the gradient of every trained parameter.

    The model is in training mode, with the noise and dropout of one seed.
    """
    tiny_encoders.perturb(model)
    model.train()
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        model(**batch()).loss.backward()
    return [p.grad for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_checkpointing_draws_the_same_noise_again(name: str, precision: torch.dtype) -> None:
    expected = gradients(encoder(name, aa_ray.AdaptableConfig()), precision)
    model = encoder(name, aa_ray.AdaptableConfig())
    model.gradient_checkpointing_enable()
    results = gradients(model, precision)
    for result, value in zip(results, expected, strict=True):
        torch.testing.assert_close(result, value, rtol=0, atol=0)


def test_without_the_state_of_torchs_generator_it_would_not() -> None:
    """Shows that the test above can fail and that it relies on torch's default."""
    expected = gradients(encoder("bert", aa_ray.AdaptableConfig()))
    model = encoder("bert", aa_ray.AdaptableConfig())
    model.gradient_checkpointing_enable({"preserve_rng_state": False})
    assert any(not torch.equal(*pair) for pair in zip(gradients(model), expected, strict=True))


@pytest.mark.parametrize("name", ENCODERS)
def test_autocast_to_bfloat16_is_near_float32(name: str) -> None:
    exact = gradients(encoder(name, aa_ray.AdaptableConfig(temperature=0.5)))
    rounded = gradients(encoder(name, aa_ray.AdaptableConfig(temperature=0.5)), torch.bfloat16)
    assert {gradient.dtype for gradient in rounded} == {torch.float32}
    result, expected = (torch.cat([g.flatten() for g in each]) for each in (rounded, exact))
    assert (result - expected).norm() < 0.1 * expected.norm()


def test_a_whole_model_in_bfloat16() -> None:
    """Rational and switch still compute in float32."""
    model = encoder("bert", aa_ray.AdaptableConfig()).to(torch.bfloat16)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model))
    module = bottleneck_layers(model, "sst2")[0].adapters["sst2"]
    assert module.switch(3).dtype == torch.float32
    rational = module.non_linearity.f
    x = torch.tensor([[3.0, 5.0, -4.0]], dtype=torch.bfloat16)
    expected = torch.nn.Module.float(rational)(x.float()).to(torch.bfloat16)
    assert torch.equal(rational.to(torch.bfloat16)(x), expected)


# Torch's compiler instantiates the function's class, which torch itself deprecates.
ignore_torchs_own = pytest.mark.filterwarnings("ignore:.*should not be instantiated")


@ignore_torchs_own
@pytest.mark.parametrize("training", [False, True])
def test_torch_compile_of_the_module(training: bool) -> None:
    """The module compiles to one graph that draws new noise; this backend generates no code."""
    torch._dynamo.reset()
    model = encoder("bert", aa_ray.AdaptableConfig())
    tiny_encoders.perturb(model)
    module = bottleneck_layers(model, "sst2")[0].adapters["sst2"].train(training)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x, h = torch.randn(2, 4, 5, tiny_encoders.HIDDEN)
    results = []
    for run in (compiled, module):
        torch.manual_seed(0)
        first, second = run(x, h)[0], run(x, h)[0]
        assert torch.equal(first, second) != training
        module.zero_grad()
        (first + second).square().sum().backward()
        results.append([first, second, *(p.grad for p in module.parameters() if p.requires_grad)])
    for result, expected in zip(*results, strict=True):
        assert (result is None) == (expected is None)
        if result is not None:
            torch.testing.assert_close(result, expected)


@ignore_torchs_own
def test_torch_compile_of_the_model() -> None:
    torch._dynamo.reset()
    model = encoder("bert", aa_ray.AdaptableConfig())
    tiny_encoders.perturb(model)
    expected = logits(model)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        result = compiled(batch()["input_ids"]).logits
    torch.testing.assert_close(result, expected)


PAGE = Path(aa_ray.__file__).parents[1] / "docs" / "adapters.md"


def test_the_pages_scripts(tiny_folder: Path, tmp_path: Path) -> None:
    """Runs the scripts concatenated, unchanged except for a smaller backbone and fewer epochs."""
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate")
    blocks = re.findall(r"^```python\n(.*?)```", PAGE.read_text("utf-8"), re.S | re.M)
    assert len(blocks) >= 4
    code = "\n".join(blocks).replace('"roberta-base"', repr(str(tiny_folder)))
    code = code.replace("num_train_epochs=20", "num_train_epochs=1")
    (tmp_path / "mine.py").write_text(code)
    ran = subprocess.run(
        [sys.executable, "mine.py"],
        capture_output=True, text=True, cwd=tmp_path, timeout=580, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^\[[\d, ]*\]$", ran.stdout, re.M)
    assert (tmp_path / "out" / "pytorch_adapter.bin").is_file()
