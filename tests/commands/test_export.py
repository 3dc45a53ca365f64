"""aa_ray.commands.export: stock AdapterHub's predictions from the folder are those of the trial."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import AutoAdapterModel
from transformers import AutoTokenizer, BertModel

from aa_ray.commands import card, export
from aa_ray.commands.trained import Taker, Trained
from aa_ray.core import backbones
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.glue import Source
from aa_ray.errors import SweepError, UsageError
from aa_ray.store.rows import Row
from aa_ray.training.trainer import TrialTrainer
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

RATIONAL = {"activation": "rational:one", "rational_learning_rate": 0.05}
# The switches learn fast, so that some are off after three epochs.
SWITCHED = {"switched": True, "switch_learning_rate": 0.3}

# Name -> the trial's settings, and the inference depth. It does not matter here where a method's
# layers come from.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "baseline": ({}, 3),
    "adapter-drop": ({"inference_depths": (1, 2)}, 1),
    "adapter-drop, deeper": ({"inference_depths": (1, 2)}, 2),
    "adapter-drop, none left": ({"inference_depths": (0,)}, 0),
    "aa": ({**RATIONAL, **SWITCHED}, 3),
    "aa, none selected": ({**RATIONAL, **SWITCHED, "switch_learning_rate": 0.2, "seed": 92}, 3),
    "aa, paper's identity": ({**RATIONAL, **SWITCHED, "switch_identity": "plain", "seed": 92}, 3),
    "aa, last switches": ({**RATIONAL, **SWITCHED, "restored_switches": "last"}, 3),
    "aa, denominator B": ({**RATIONAL, **SWITCHED, "denominator": "B"}, 3),
    "aa-focused": ({**RATIONAL, "layers": (0, 2)}, 3),
    "aa-focused, nothing selected": ({"layers": ()}, 3),
    "switch-only": (SWITCHED, 3),
    "rational-only": ({**RATIONAL, "gradient_at_zero": "abs"}, 3),
    "last-n": ({"layers": (1, 2)}, 3),
    "regression": ({**RATIONAL, **SWITCHED, "task": "stsb", "seed": 92}, 3),
    "three classes": ({"task": "mnli"}, 3),
    "mean pooling": ({**RATIONAL, **SWITCHED, "pooling": "mean"}, 3),
    "mean pooling, ReLU": ({"pooling": "mean"}, 3),
}


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Save the tiny BERT with LayerNorms as after pre-training.

    With weights of 1 and biases of 0, LN(LN(z) + z) = LN(z), and a switch that is off would change
    nothing.
    """
    folder = tmp_path_factory.mktemp("normed-bert")
    shutil.copytree(tiny_folder, folder, dirs_exist_ok=True)
    bert = BertModel.from_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in bert.named_parameters():
            if "LayerNorm" in name:
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.5)
    bert.save_pretrained(folder)
    return backbones.find(str(folder))


class Takers:
    """Forwards events to several takers."""

    def __init__(self, *takers: Taker) -> None:
        self.takers = takers

    def after_epoch(self, trainer: TrialTrainer) -> None:
        for taker in self.takers:
            taker.after_epoch(trainer)

    def after_test(self, trainer: TrialTrainer, depth: int) -> None:
        for taker in self.takers:
            taker.after_test(trainer, depth)


Made = Callable[[str], tuple[Trained, Row]]


@pytest.fixture(scope="module")
def made(tiny: Backbone, make_trial: Callable[..., Trial]) -> Made:
    """Return a function that trains a case and returns the trained adapter and its row.

    Each trial is trained once.
    """
    worker = Worker(tiny, Source("embedded"), ("abc", False))
    known: dict[Trial, tuple[Takers, list[Row]]] = {}

    def make(name: str) -> tuple[Trained, Row]:
        settings, depth = CASES[name]
        trial = make_trial(**({"learning_rate": 0.01, "epochs": 3} | settings))
        depths = trial.depths(3)
        if trial not in known:
            takers = Takers(*(Taker(trial, d) for d in depths))
            known[trial] = takers, worker.run([trial], [name.partition(",")[0]], takers)[0]
        takers, rows = known[trial]
        taken = takers.takers[depths.index(depth)].taken
        assert taken is not None
        return taken, rows[depths.index(depth)]

    return make


@pytest.fixture
def exported(made: Made, tiny: Backbone, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, into: str = "") -> Path:
        trained, row = made(name)
        folder = tmp_path / "new" / (into or name)
        export.write(folder, trained, row, tiny, card.text(trained, row, tiny))
        return folder

    return write


def stock_logits(tiny: Backbone, folder: Path, task: str, texts: list[list[str]]) -> torch.Tensor:
    """Return AdapterHub's logits, computed as its documentation describes."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    model = AutoAdapterModel.from_pretrained(tiny.path)
    name = model.load_adapter(str(folder), set_active=True)
    model.eval()
    assert name.startswith(f"{task}-") and model.active_head == name
    inputs = tokenizer(*texts, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits


@pytest.mark.parametrize("name", CASES)
def test_stock_adapterhub_scores_as_the_trials_own_test(
    name: str, made: Made, exported: Callable[..., Path], tiny: Backbone
) -> None:
    trained, row = made(name)
    folder = exported(name)
    official = Source("embedded").load(row["task"])
    task = tasks.get(row["task"])
    texts = [official.test[column].to_pylist() for column in task.texts]
    logits = stock_logits(tiny, folder, row["task"], texts)
    scores = task.scores(official.test["label"].to_numpy(), logits.numpy())
    assert scores == pytest.approx(row["test_metrics"], abs=1e-5)
    assert export.check(folder, trained, tiny, official) == export.CHECKED_EXAMPLES
    assert logits.std(dim=0).min() > 10 * export.TOLERANCE  # constant logits would prove nothing


@pytest.mark.parametrize(
    ("name", "count", "identities"),
    [("aa", 1, 2), ("switch-only", 1, 2), ("aa, none selected", 0, 3),
     ("aa, paper's identity", 1, 0), ("regression", 2, 1)],
)  # fmt: skip
def test_the_switched_cases_have_switches_on_and_off(
    made: Made, name: str, count: int, identities: int
) -> None:
    trained, row = made(name)
    assert trained.layers == row["selected_layers"] and len(trained.layers) == count
    assert len(trained.identities) == identities


def test_a_layer_whose_switch_is_off_is_not_the_plain_layer(
    made: Made, exported: Callable[..., Path], tiny: Backbone
) -> None:
    trained, _ = made("aa")
    folder = exported("aa")
    for layer in trained.identities:
        state = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
        weights = [v for k, v in state.items() if f"layer.{layer}." in k and k.endswith("weight")]
        assert len(weights) == 2 and all(torch.equal(w, torch.eye(32)) for w in weights)
    config = json.loads((folder / "adapter_config.json").read_text())
    for part in config["config"]["configs"]:
        if part["non_linearity"] == "linear":
            part["leave_out"] = [0, 1, 2]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(SweepError, match="its predictions differ from the trial"):
        export.check(folder, trained, tiny, Source("embedded").load("sst2"))


def test_relu_needs_no_import_of_ours(exported: Callable[..., Path], tiny: Backbone) -> None:
    """Runs the cards' examples in a process that cannot import aa_ray."""
    folders = [exported("baseline"), exported("switch-only")]
    code = "\n".join(
        ["import sys; sys.modules['aa_ray'] = None", *(example(f, tiny) for f in folders)]
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    printed = re.findall(r"tensor\(\[\[(.*?)\]\]", ran.stdout)
    for folder, numbers in zip(folders, printed, strict=True):
        expected = stock_logits(tiny, folder, "sst2", [["sentence"]])[0].tolist()
        assert [float(x) for x in numbers.split(",")] == pytest.approx(expected, abs=1e-4)


def example(folder: Path, tiny: Backbone) -> str:
    """Return the Python code of the card, with its placeholder paths filled in."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    name = tiny.identity.partition("@")[0]
    return code.replace(card.PLACE, str(folder)).replace(f"path/to/{name}", tiny.path)


@pytest.mark.parametrize("name", ["aa", "mean pooling", "mean pooling, ReLU"])
def test_the_cards_example_runs_with_what_is_ours(
    name: str, exported: Callable[..., Path], tiny: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    code = example(exported(name), tiny)
    assert code.startswith("import aa_ray")
    exec(code, {})
    assert "tensor([[" in capsys.readouterr().out


def test_coefficients_as_json(made: Made, exported: Callable[..., Path]) -> None:
    _, row = made("aa-focused")
    folder = exported("aa-focused")
    found = json.loads((folder / "rationals.json").read_text())
    assert list(found) == ["0", "2"]
    for layer, of_layer in found.items():
        best = row["best_epoch"]
        assert of_layer["numerator"] == (row["numerators"] or [])[best][int(layer)]
        assert of_layer["denominator"] == (row["denominators"] or [])[best][int(layer)]


def test_trial_json_says_all(made: Made, exported: Callable[..., Path]) -> None:
    trained, row = made("aa")
    notes = export.about(exported("aa"))
    assert notes is not None
    assert Trial.from_json(json.dumps(notes["settings"])) == trained.trial
    assert notes["test_metrics"] == {k: v for k, v in row["test_metrics"].items() if v is not None}
    assert notes["adapter_layers"] == row["selected_layers"]


def test_written_again_nothing_is_left_of_the_first(
    exported: Callable[..., Path], tiny: Backbone
) -> None:
    assert (exported("aa", "same") / "rationals.json").exists()
    folder = exported("baseline", "same")
    assert not (folder / "rationals.json").exists()
    stock_logits(tiny, folder, "sst2", [["a film"]])


@pytest.mark.parametrize("name", ["pytorch_adapter.bin", "head_config.json", "trial.json"])
def test_a_damaged_adapter_is_not_taken_for_one(name: str, exported: Callable[..., Path]) -> None:
    folder = exported("baseline", "same")
    assert export.about(folder) is not None
    (folder / name).write_bytes((folder / name).read_bytes()[:-2])
    assert export.about(folder) is None
    assert export.about(exported("baseline", "same")) is not None  # the new export replaces it


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("step", range(7))
def test_an_interrupted_export_is_not_taken_for_one(
    step: int,
    earlier: bool,
    made: Made,
    exported: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk fills up before the first file is in place, before the second, and so on."""
    if earlier:
        exported("baseline", "same")
    replace = Path.replace
    moved: list[str] = []

    def full(self: Path, target: Path) -> Path:
        if len(moved) == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        moved.append(target.name)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(UsageError, match="No space left on device"):
            exported("aa", "same")
    folder = exported("aa-focused", "other").parent / "same"
    notes = export.about(folder)
    assert notes is None or (step == 0 and earlier and notes["method"] == "baseline")
    assert export.about(exported("aa", "same")) is not None
    assert not list(folder.glob("*.part"))


def test_an_adapter_that_fails_its_check_is_not_left_behind(
    made: Made, tiny: Backbone, tmp_path: Path
) -> None:
    trained, row = made("baseline")

    def refuse(folder: Path) -> None:
        assert export.about(folder) is not None
        raise SweepError("it does not predict what the trial does")

    with pytest.raises(SweepError):
        export.write(tmp_path / "out", trained, row, tiny, "", refuse)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (), "empty_selection": "full"}, "trains the whole backbone"),
        ({"switched": True, "switch_skip": "no"}, "AdapterHub's bottleneck always has one"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    settings: dict[str, Any], message: str, make_trial: Callable[..., Trial]
) -> None:
    with pytest.raises(UsageError, match=message):
        export.check_expressible(make_trial(**settings))
    export.check_expressible(make_trial(switch_skip="no"))  # affects switched trials only


def test_other_peoples_files_are_left_alone(tmp_path: Path, exported: Callable[..., Path]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        export.check_folder(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        export.check_folder(tmp_path / "notes.txt")
    export.check_folder(tmp_path / "new")
    export.check_folder(exported("baseline"))
