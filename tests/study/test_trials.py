"""aa_ray.study.trials: a trial given by names is the same trial in every study."""

from typing import Any

import pytest

from aa_ray.commands import from_options, options
from aa_ray.commands.parser import Parser
from aa_ray.core.architectures import METHODS
from aa_ray.core.backbones import RELEASED_RATES, Backbone
from aa_ray.errors import UsageError
from aa_ray.study.trials import make_trial


def of_command(*words: str) -> Any:
    """Return the trial that ``python -m aa_ray run`` runs with these options."""
    parser = Parser()
    options.add_trial(parser)
    study = from_options.study_of_one(parser.parse_args(words))
    [cell] = study.grid()
    return study.trial(cell, [(0, 2)] * len(study.needs(cell)))


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_trial_of_the_command(method: str, tiny: Backbone) -> None:
    selected = [(0, 2)] * len(METHODS[method].needs)
    expected = of_command("--method", method, "--task", "sst2", "--backbone", tiny.path)
    assert make_trial(method, "sst2", backbone=tiny.path, selected=selected) == expected


def test_every_argument_counts(tiny: Backbone) -> None:
    made = make_trial(
        "aa", "rte", "full", 7, backbone=tiny.path, rates=RELEASED_RATES, epochs=3,
        precision="bf16", data="hub", settings={"denominator": "B", "pooling": "mean"},
    )  # fmt: skip
    expected = of_command(
        "--method", "aa", "--task", "rte", "--regime", "full", "--seed", "7", "--backbone",
        tiny.path, "--rates", "released", "--epochs", "3", "--precision", "bf16", "--data", "hub",
        "--set", "denominator=B", "pooling=mean",
    )  # fmt: skip
    assert made == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "laura"}, "unknown method 'laura'"),
        ({"task": "colla"}, "unknown task 'colla'"),
        ({"regime": "half"}, "unknown regime 'half'"),
        ({"regime": "5000"}, "the training data has 2000"),
        ({"settings": {"tempo": "1"}}, "unknown setting 'tempo'"),
        ({"settings": {"denominator": "C"}}, "unknown value of denominator 'C'"),
        ({"selected": [(0,)]}, "takes its layers from 0 aa trials, but selected has 1"),
        ({"method": "aa-focused-uni"}, r"from 1 aa trials, .*: aa qqp 100 seed 42"),
        ({"backbone": "no/such"}, "neither minilm, nor a checkpoint folder"),
        ({"data": "/no/such"}, "no such folder"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tiny: Backbone) -> None:
    arguments: dict[str, Any] = {"method": "aa", "task": "sst2", "backbone": tiny.path}
    with pytest.raises(UsageError, match=message):
        make_trial(**(arguments | changes))
