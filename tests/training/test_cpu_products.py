"""aa_ray.training.cpu_products times the libraries once, caches the times, and changes no trial."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from aa_ray.data import cache
from aa_ray.training import cpu_layers, cpu_products, doctor
from aa_ray.training.cpu_layers import FrozenLinear, freeze, restore_linears
from aa_ray.training.cpu_products import ONEDNN, TORCH
from aa_ray.training.random_encoders import bert, without_dropout
from aa_ray.training.selfcheck import TOLERANCE, difference
from aa_ray.trial import Trial
from tests.training.test_loop import run_one

LAYER = (384, 1536)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    cpu_products._times.cache_clear()


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the outcome of the next measurement."""

    def let(fp32: dict[str, float], bf16: dict[str, float]) -> None:
        monkeypatch.setattr(cpu_products, "measure", lambda _: {"fp32": fp32, "bf16": bf16})
        cpu_products._times.cache_clear()

    return let


def test_every_precision_and_library_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.get_rng_state()
    measured = cpu_products.measure((64, 256), seconds=0.01)
    assert set(measured) == {"fp32", "bf16"} and set(measured["fp32"]) == {TORCH, ONEDNN}
    assert all(time > 0 for of in measured.values() for time in of.values())
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert set(cpu_products.measure((64, 256), seconds=0.01)["bf16"]) == {TORCH}


@pytest.mark.parametrize(
    ("capability", "onednn", "replaced"),
    [
        ("AVX512", 5.0, True), ("AVX512", 11.0, True), ("AVX512", 12.0, False),
        ("AVX2", 5.0, True), ("AVX2", 9.0, False), ("AVX2", 8.0, True), ("AVX2", 12.0, False),
    ],
)  # fmt: skip
def test_what_is_expected_is_taken_unless_the_other_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch,
    timed: Callable[..., None],
    capability: str,
    onednn: float,
    replaced: bool,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    timed({TORCH: 10.0, ONEDNN: onednn}, {TORCH: 70.0})
    assert cpu_products.onednn_is_faster(torch.float32, LAYER) == replaced
    assert not cpu_products.onednn_is_faster(torch.bfloat16, LAYER)
    module = torch.nn.Sequential(torch.nn.Linear(*LAYER).requires_grad_(False))
    cpu_layers.replace_linears(module)
    assert (type(module[0]) is FrozenLinear) == replaced
    # Small layers are not worth timing.
    assert cpu_products.onednn_is_faster(torch.float32, (32, 64)) == (capability == "AVX512")


def test_a_slower_precision_is_named_with_its_factor(timed: Callable[..., None]) -> None:
    timed({TORCH: 10.0, ONEDNN: 9.0}, {TORCH: 63.0})
    line = cpu_products.slow_precision("bf16", 384)
    assert line is not None and "bf16 takes 7.0 times as long as fp32" in line
    assert cpu_products.slow_precision("fp32", 384) is None
    assert cpu_products.slow_precision("tf32", 384) is None
    found = doctor._products()
    assert found.state == doctor.SLOW and found.advice == line
    assert "oneDNN 9.0 ms" in found.text and "bf16: nn.Linear 63.0 ms (used)" in found.text
    timed({TORCH: 10.0, ONEDNN: 9.0}, {TORCH: 9.5, ONEDNN: 4.0})
    assert cpu_products.slow_precision("bf16", 384) is None
    assert doctor._products().state == doctor.OK


def test_times_are_kept_for_the_kind_of_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: Callable[..., None]
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    first = {TORCH: 10.0, ONEDNN: 5.0}
    timed(first, {TORCH: 8.0})
    assert cpu_products.times(LAYER)["fp32"] == first
    timed({TORCH: 1.0}, {TORCH: 1.0})  # another process might measure this
    assert cpu_products.times(LAYER)["fp32"] == first
    monkeypatch.setattr(cpu_products, "_processor", lambda: ["another"])
    cpu_products._times.cache_clear()
    assert cpu_products.times(LAYER)["fp32"] == {TORCH: 1.0}
    assert len(list((tmp_path / "cache").glob("cpu-*.json"))) == 2
    for path in (tmp_path / "cache").glob("cpu-*.json"):
        path.write_text(json.dumps({"fp32": {}}))
    cpu_products._times.cache_clear()
    assert cpu_products.times(LAYER)["fp32"] == {TORCH: 1.0}  # measured again
    monkeypatch.setenv(cache.VARIABLE, "/dev/null/nowhere")
    cpu_products._times.cache_clear()
    assert cpu_products.times(LAYER)["fp32"] == {TORCH: 1.0}


def test_the_library_changes_rounding_alone(make_trial: Callable[..., Trial]) -> None:
    """The trial stays the same; losses, switches and rationals agree to within the tolerance."""
    trial = make_trial(layers=(0, 1), activation="rational:one", switched=True, epochs=2)
    outcomes = []
    for replaced in (True, False):
        torch.manual_seed(0)
        encoder = without_dropout(freeze(bert(2, 64, torch.device("cpu")), fast_linears=False))
        if replaced:
            _replace_all(encoder)
        outcomes.append(run_one(encoder, trial))
        restore_linears(encoder.base_model)
    assert 0 <= difference(*outcomes) < TOLERANCE


def _replace_all(encoder: PreTrainedModel) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_layers, "onednn_is_faster", lambda *_: True)
        cpu_layers.replace_linears(encoder.base_model)
    assert any(isinstance(layer, FrozenLinear) for layer in encoder.modules())
