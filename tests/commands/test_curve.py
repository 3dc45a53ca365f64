"""aa_ray.commands.curve: the lines printed for a trial."""

from collections.abc import Callable

from aa_ray.commands import curve
from aa_ray.training.trainer import Epoch
from aa_ray.trial import Trial


def history(*scores: float) -> list[Epoch]:
    return [Epoch(0), *(Epoch(n, 0.5, {3: {"f1": score}}) for n, score in enumerate(scores, 1))]


def test_a_star_marks_what_would_be_kept() -> None:
    """The first of equal scores is the best epoch, as in ``TrialTrainer.developed``."""
    epochs = history(-0.1, 0.25, 0.25, 0.2, 0.3)
    stars = ["*" in curve.line(epochs[: n + 1], "f1") for n in range(1, 6)]
    assert stars == [True, True, False, False, True]
    assert curve.line(epochs[:3], "f1") == "    2    0.5000      25.0*"


def test_switches_that_are_on() -> None:
    epochs = history(0.5)
    epochs[1].logits = {0: [0.1, 0.2], 1: [0.2, 0.2], 2: [0.0, 0.9]}
    assert curve.line(epochs, "f1").endswith("*  0 2")
    epochs[1].logits = {0: [0.2, 0.1]}
    assert curve.line(epochs, "f1").endswith("*  -")


def test_columns_stand_under_their_headings(make_trial: Callable[..., Trial]) -> None:
    trial = make_trial(inference_depths=(1, 2))
    heading = curve.heading(1234, "f1", (1, 2), trial, 3).splitlines()
    assert heading[0] == "trained   1,234 parameters"
    epoch = Epoch(1, 0.5, {1: {"f1": 0.5}, 2: {"f1": 0.75}})
    line = curve.line([Epoch(0), epoch], "f1")
    for column in ("last 1", "last 2"):
        end = heading[-1].index(column) + len(column)
        assert line[end - 1] == "*"
