"""The methods of the study as data: which layers, which activation, switched or not, and what
they wait for. A new architecture is one more row of ``METHODS``, here or in a file of one's own
(``aa_ray.study.plugins``).

No layer number and no number of layers is written here: both come from the ``aa`` trials that a
method depends on, for any backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aa_ray.core.rational import activation_name
from aa_ray.errors import unknown

Layers = tuple[int, ...]

# The method whose switches decide the layers of the focused architectures.
AA = "aa"

RELU = "relu"
RATIONAL = activation_name("one")

# The seed whose ``aa`` trials decide the focused architectures, and the first of the five seeds.
FIRST_SEED = 42
SEEDS = (FIRST_SEED, 92, 111, 245, 651)


class Selection(NamedTuple):
    """The layers that ``aa`` selected for a task and regime with the first seed.

    None stands for the task or regime of the trial that depends on it.
    """

    task: str | None
    regime: str | None


SPEC = Selection(None, None)
UNI = Selection("qqp", "100")


@dataclass(frozen=True)
class Method:
    """One architecture of the study.

    Attributes:
        name: as on the command line and in rows.
        title: as printed in tables.
        layers: (number of layers, selected layers of each of ``needs``) -> layers with an adapter.
        activation: AdapterHub's name of the non-linearity.
        switched: whether each adapter is behind a learnable switch.
        needs: selections that the architecture waits for.
        depths: AdapterDrop only: likewise -> numbers of layers, from the top, whose adapters
            are kept at inference.
        places: the layers in words, for the report.
    """

    name: str
    title: str
    layers: Callable[..., Layers]
    activation: str = RELU
    switched: bool = False
    needs: tuple[Selection, ...] = ()
    depths: Callable[..., tuple[int, ...]] | None = None
    places: str = "–"


def _all(num_layers: int, *_: Layers) -> Layers:
    return tuple(range(num_layers))


def last(num_layers: int, count: int) -> Layers:
    """The last ``count`` of ``num_layers`` layers; none for a count of 0 or below."""
    return tuple(range(num_layers - max(0, count), num_layers))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("baseline", "Baseline", _all, places="every layer"),
        Method(
            "adapter-drop",
            "AdapterDrop^N",
            _all,
            needs=(SPEC, UNI),
            depths=lambda num_layers, spec, uni: (len(spec), len(uni)),
            places="every layer; the first n are skipped at random while training",
        ),
        Method(AA, "AA", _all, RATIONAL, switched=True, places="every layer"),
        Method(
            "aa-focused-spec",
            "AA-focused^spec",
            lambda num_layers, spec: spec,
            RATIONAL,
            needs=(SPEC,),
            places="the layers that AA selected for the same task and regime",
        ),
        Method(
            "aa-focused-uni",
            "AA-focused^uni",
            lambda num_layers, uni: uni,
            RATIONAL,
            needs=(UNI,),
            places="the N layers that AA selected for QQP",
        ),
        Method(
            "aa-focused-sim",
            "AA-focused^sim",
            lambda num_layers, uni: last(num_layers, len(uni)),
            RATIONAL,
            needs=(UNI,),
            places="the last N layers",
        ),
        Method("switch-only", "Switch-only", _all, switched=True, places="every layer"),
        Method("rational-only", "Rational-only", _all, RATIONAL, places="every layer"),
        Method(
            "baseline-last-n",
            "Baseline^N",
            lambda num_layers, uni: last(num_layers, len(uni)),
            needs=(UNI,),
            places="the last N layers",
        ),
        Method(
            "focused-last-n-1",
            "AA-focused^N-1",
            lambda num_layers, uni: last(num_layers, len(uni) - 1),
            RATIONAL,
            needs=(UNI,),
            places="the last N-1 layers",
        ),
        Method(
            "focused-last-n-2",
            "AA-focused^N-2",
            lambda num_layers, uni: last(num_layers, len(uni) - 2),
            RATIONAL,
            needs=(UNI,),
            places="the last N-2 layers",
        ),
    )
}

TABLE2 = ("baseline", "adapter-drop", "aa", "aa-focused-spec", "aa-focused-uni", "aa-focused-sim")
TABLE3 = ("aa-focused-sim", "focused-last-n-1", "focused-last-n-2")
TABLE4 = ("aa", "switch-only", "baseline", "rational-only", "baseline-last-n", "aa-focused-sim")


def get(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: no such method.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
