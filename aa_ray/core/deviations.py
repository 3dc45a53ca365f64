"""The differences between the paper and its released code, as settings of a trial.

The default is the released code, which produced the paper's numbers, with three exceptions. The
AdapterDrop range and the restored switches differ, since the code clearly contradicts the authors'
description there. An empty selection trains only the classifier; the code silently turns it into
full fine-tuning.
"""

from dataclasses import dataclass

from aa_ray.errors import unknown
from aa_ray.trial import Trial


@dataclass(frozen=True)
class Setting:
    """A field of ``Trial`` that a study may set by name.

    Attributes:
        name: the field.
        about: what it sets, in words.
        choices: value -> its meaning.
    """

    name: str
    about: str
    choices: dict[str, str]


@dataclass(frozen=True)
class Deviation(Setting):
    """One point on which paper and released code differ; the first choice is the default.

    Attributes:
        key: its number in the project's list of differences.
        paper, released: the value that each uses; None if the paper does not say.
    """

    key: str
    paper: str | None
    released: str

    @property
    def default(self) -> str:
        return next(iter(self.choices))


DEVIATIONS: dict[str, Deviation] = {
    deviation.name: deviation
    for deviation in (
        Deviation(
            "switch_skip", "skip connection inside a switched adapter",
            {"yes": "kept", "no": "removed"}, key="D1", paper="no", released="yes",
        ),
        Deviation(
            "switch_identity", "identity branch of the switch",
            {"released": "LN(LN(h+i) + h + i)", "plain": "the plain layer LN(h+i)"},
            key="D2", paper="plain", released="released",
        ),
        Deviation(
            "denominator", "denominator of the rational",
            {"A": "1 + |b1 x| + ... + |b4 x^4|", "B": "1 + |b1 x + ... + b4 x^4|"},
            key="D3", paper="B", released="A",
        ),
        Deviation(
            "gradient_at_zero", "gradient of the denominator's |.| at 0",
            {"kernel": "1, so that it learns from f(x) = 1", "abs": "0, so that it never moves"},
            key="D4", paper=None, released="kernel",
        ),
        Deviation(
            "drop_range", "layers that AdapterDrop skips in a training step",
            {"layers": "0..L-1; development set at the depths of the test",
             "released": "0..10 for every L; development set at the last random depth"},
            key="D5", paper="layers", released="released",
        ),
        Deviation(
            "restored_switches", "switches in the test",
            {"best": "of the best epoch, as all other weights", "last": "of the last epoch"},
            key="D6", paper="best", released="last",
        ),
        Deviation(
            "empty_selection", "focused architecture when no layer was selected",
            {"classifier": "trains the classifier only", "full": "full fine-tuning"},
            key="D9", paper=None, released="full",
        ),
    )
}  # fmt: skip

POOLING = Setting(
    "pooling", "what the classifier reads; a backbone has its own default",
    {"cls": "the first token through the backbone's pooler, if it has one",
     "mean": "the mean of all tokens"},
)  # fmt: skip

SETTINGS: dict[str, Setting] = {**DEVIATIONS, POOLING.name: POOLING}


def applies(name: str, trial: Trial) -> bool:
    """Whether the setting ``name`` can change the result of this trial.

    ``empty_selection`` applies to every trial without layers; only focused ones have none.
    """
    return {
        "switch_skip": trial.switched,
        "switch_identity": trial.switched,
        "restored_switches": trial.switched,
        "switch_learning_rate": trial.switched,
        "denominator": trial.rational,
        "gradient_at_zero": trial.rational,
        "rational_learning_rate": trial.rational,
        "drop_range": trial.inference_depths is not None,
        "empty_selection": not trial.layers,
    }.get(name, True)


def check(name: str, value: str) -> None:
    """Refuse a name or value that is not in ``SETTINGS``.

    Raises:
        UsageError: the message lists the allowed ones.
    """
    if name not in SETTINGS:
        raise unknown("setting", name, SETTINGS)
    if value not in SETTINGS[name].choices:
        raise unknown(f"value of {name}", value, SETTINGS[name].choices)
