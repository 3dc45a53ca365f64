"""aa_ray.commands.card: the contents of an adapter's card, which the hub can read."""

import dataclasses
from collections.abc import Callable
from typing import Any

import huggingface_hub
import pytest
import torch

from aa_ray.commands import card
from aa_ray.commands.trained import Trained
from aa_ray.core.backbones import Backbone
from aa_ray.data import tasks
from aa_ray.data.own_files import Hub
from aa_ray.trial import Trial

HUB_BERT = Backbone("bert-base-uncased", "bert-base-uncased", 3, 32)
FOLDER = Backbone("mine@0123456789ab", "/home/me/secret/mine", 3, 32)


@pytest.fixture
def make(make_trial: Callable[..., Trial]) -> Callable[..., tuple[Trained, dict[str, Any]]]:
    def of(selected: list[int] | None = None, **settings: Any) -> tuple[Trained, dict[str, Any]]:
        trial = make_trial(**settings)
        weights = {
            f"adapters.{layer}.non_linearity.f.{part}": torch.arange(size, dtype=torch.float32)
            for layer in trial.layers
            for part, size in (("numerator", 6), ("denominator", 4))
        }
        row = trial.columns | {
            "method": "aa", "backbone_sha256": "0" * 64, "best_epoch": 1, "epochs": 1,
            "dev_metric": 0.5, "metric_name": "accuracy", "test_metrics": {"accuracy": 0.625,
            "f1": None}, "trainable_parameters": 1234, "commit": "abc", "dirty": True,
            "data_source": "nyu-mll/glue@bcdcba79d07b",
        }  # fmt: skip
        return Trained(trial, 3, 3, weights, selected), row

    return of


def test_front_matter_is_what_the_hub_expects(make: Callable[..., Any]) -> None:
    trained, row = make()
    front = huggingface_hub.ModelCard(card.text(trained, row, HUB_BERT)).data.to_dict()
    assert front["base_model"] == "bert-base-uncased" and front["datasets"] == ["nyu-mll/glue"]
    [index] = front["model-index"]
    [result] = index["results"]
    assert result["dataset"] == {"name": "SST-2", "type": "nyu-mll/glue", "config": "sst2",
                                 "split": "validation"}  # fmt: skip
    assert result["metrics"] == [{"type": "accuracy", "value": 0.625}]


def test_no_path_of_the_machine_is_told(make: Callable[..., Any]) -> None:
    trained, row = make()
    text = card.text(trained, row, FOLDER)
    assert "secret" not in text and 'backbone = "path/to/mine"' in text
    assert "base_model" not in text and "mine@0123456789ab" in text


def test_a_switched_trial_says_what_became_of_its_switches(make: Callable[..., Any]) -> None:
    trained, row = make([0, 2], switched=True, activation="rational:one", denominator="B")
    text = card.text(trained, row, HUB_BERT)
    assert "adapters in layers 0, 2 of 3" in text
    assert "The switches of layers 1 did not choose the adapter" in text
    assert "import aa_ray" in text and "1 + |b1 x + ... + b4 x^4|" in text
    assert "| 2 | 0 1 2 3 4 5 | 0 1 2 3 |" in text and "| 1 | 0 1" not in text
    trained, row = make([], switched=True, switch_identity="plain")
    text = card.text(trained, row, HUB_BERT)
    assert "none of the 3 layers has a trained adapter" in text and "identity" not in text


def test_labels_remarks_and_generated_data(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, row = make()
    row["data_source"] = "embedded-1"
    text = card.text(trained, row, HUB_BERT, "An earlier training had more.")
    assert "generated sentences" in text and "An earlier training had more." in text
    assert "datasets:" not in text and "classes 0 to 1 as in the data" in text
    origin = Hub("train", "test", "label", ("bad", "good"), "me/x", "c", "0" * 40)
    named = dataclasses.replace(tasks.TASKS["sst2"], labels=("bad", "good"), origin=origin)
    monkeypatch.setitem(tasks.TASKS, "sst2", named)
    text = card.text(trained, row, HUB_BERT)
    assert "classes: 0 = bad, 1 = good." in text and "datasets:\n- me/x\n" in text
    trained, row = make(task="stsb")
    assert "The one logit is the predicted score." in card.text(trained, row, HUB_BERT)


def test_an_own_activation_needs_its_file(make: Callable[..., Any]) -> None:
    trained, row = make(activation="wave@01234567")
    text = card.text(trained, row, HUB_BERT)
    assert 'own.load(["path/to/own.py"])  # the file that defines wave@01234567' in text
