"""The methods of the study as data: layers, activation, switches, and the trials they wait for.

A new architecture is one more row of ``METHODS``, here or in a file for ``--own``
(``aa_ray.study.plugins``). No layer indices and no numbers of layers are hard-coded: both come
from the ``aa`` trials that a method depends on, for any backbone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aa_ray.core.coefficients import activation_name
from aa_ray.errors import unknown

Layers = tuple[int, ...]

# AA's switches decide the layers of the focused architectures; the baseline is what all others are
# compared with.
AA = "aa"
BASELINE = "baseline"

RELU = "relu"
RATIONAL = activation_name("one")

# The first of the five seeds; its ``aa`` trials decide the focused architectures.
FIRST_SEED = 42
SEEDS = (FIRST_SEED, 92, 111, 245, 651)


class Selection(NamedTuple):
    """The layers that ``aa`` selected for a task and regime with the first seed.

    None stands for the task or regime of the dependent trial. ``size_only``: only the number of
    layers N is used, and a study may set it instead.
    """

    task: str | None
    regime: str | None
    size_only: bool = False


SPEC = Selection(None, None)
UNI = Selection("qqp", "100")
N = UNI._replace(size_only=True)


class MethodLine(NamedTuple):
    """A line of tables that shows a method.

    Attributes:
        title: as printed; ``^N`` stands for the number of layers N.
        depth: AdapterDrop only: if the selection has N layers, the top N layers keep their
            adapters at inference.
    """

    title: str
    depth: Selection | None = None


@dataclass(frozen=True)
class Method:
    """One architecture of the study.

    Attributes:
        name: as on the command line and in rows.
        title: as printed in tables.
        layers: (number of layers, selected layers of each of ``needs``) -> layers with an adapter.
        activation: AdapterHub's name of the non-linearity.
        switched: whether each adapter is behind a learnable switch.
        needs: the selections that the method waits for.
        depths: AdapterDrop only: the inference depths of its single training run, each with its
            line in tables. Their selections are among ``needs``.
        places: the layers in words, for the report.
        configuration: another AdapterHub adapter to use instead of the bottleneck that
            ``activation`` and ``switched`` describe: a name or string such as "lora" or
            "lora[r=4]", or a configuration object of ``adapters``. None for the bottleneck.
        fine_tunes: whether the whole backbone is trained, without adapters.
        counts_layers: whether tables also have a line with its number of adapter layers.
        drawn: whether ``layers`` only gives their number. The layers themselves are then drawn at
            random for each task, regime and seed.
    """

    name: str
    title: str
    layers: Callable[..., Layers]
    activation: str = RELU
    switched: bool = False
    needs: tuple[Selection, ...] = ()
    depths: tuple[MethodLine, ...] = ()
    places: str = "–"
    configuration: Any = None
    fine_tunes: bool = False
    counts_layers: bool = True
    drawn: bool = False

    @property
    def rational(self) -> bool:
        """Whether its activation is a rational, whose coefficients are trained."""
        return self.activation.startswith("rational:")

    @property
    def rates(self) -> tuple[str, ...]:
        """The learning rates that it uses, as fields of ``aa_ray.core.backbones.Rates``."""
        has = {"adapter": True, "rational": self.rational, "switch": self.switched}
        return tuple(name for name, present in has.items() if present)

    @property
    def lines(self) -> tuple[MethodLine, ...]:
        """Its lines in tables: one, or one per inference depth."""
        return self.depths or (MethodLine(self.title),)

    def inference_depths(self, selected: Sequence[Layers]) -> tuple[int, ...] | None:
        """AdapterDrop's numbers of layers with adapters at inference, ascending; else None.

        Args:
            selected: the selected layers of each of ``needs``.
        """
        if not self.depths:
            return None
        sizes = {need: len(layers) for need, layers in zip(self.needs, selected, strict=True)}
        return tuple(sorted({sizes[line.depth] for line in self.depths if line.depth is not None}))


def _all(num_layers: int, *_: Layers) -> Layers:
    return tuple(range(num_layers))


_EVERYWHERE: dict[str, Any] = {"places": "every layer", "counts_layers": False}


def last(num_layers: int, count: int) -> Layers:
    """The last ``count`` of ``num_layers`` layers; none for a count of 0 or below."""
    return tuple(range(num_layers - max(0, count), num_layers))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(BASELINE, "Baseline", _all, places="every layer", counts_layers=False),
        Method(
            "adapter-drop",
            "AdapterDrop^N",
            _all,
            needs=(SPEC, N),
            depths=(MethodLine("AdapterDrop^AA", SPEC), MethodLine("AdapterDrop^N", N)),
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
            lambda num_layers, n: last(num_layers, len(n)),
            RATIONAL,
            needs=(N,),
            places="the last N layers",
        ),
        Method("switch-only", "Switch-only", _all, switched=True, places="every layer"),
        Method("rational-only", "Rational-only", _all, RATIONAL, places="every layer"),
        Method(
            "baseline-last-n",
            "Baseline^N",
            lambda num_layers, n: last(num_layers, len(n)),
            needs=(N,),
            places="the last N layers",
        ),
        Method(
            "rational-last-n",
            "Rational^N",
            lambda num_layers, n: last(num_layers, len(n)),
            RATIONAL,
            needs=(N,),
            places="the last N layers",
        ),
        Method(
            "random-n",
            "Random^AA",
            lambda num_layers, spec: spec,
            RATIONAL,
            needs=(SPEC,),
            drawn=True,
            places="as many layers as AA selected, drawn at random for each seed",
        ),
        Method(
            "focused-last-n-1",
            "AA-focused^N-1",
            lambda num_layers, n: last(num_layers, len(n) - 1),
            RATIONAL,
            needs=(N,),
            places="the last N-1 layers",
        ),
        Method(
            "focused-last-n-2",
            "AA-focused^N-2",
            lambda num_layers, n: last(num_layers, len(n) - 2),
            RATIONAL,
            needs=(N,),
            places="the last N-2 layers",
        ),
    )
}

# The methods of each table of the paper, and of all three.
TABLE2 = (BASELINE, "adapter-drop", AA, "aa-focused-spec", "aa-focused-uni", "aa-focused-sim")
TABLE3 = ("aa-focused-sim", "focused-last-n-1", "focused-last-n-2")
TABLE4 = (AA, "switch-only", BASELINE, "rational-only", "baseline-last-n", "aa-focused-sim")
ALL_TABLES = tuple(dict.fromkeys(TABLE2 + TABLE3 + TABLE4))

# The methods of this project's additional studies: savings of AA-focused (efficiency), methods that
# a difference between paper and released code affects (fidelity), and learning rates.
EFFICIENCY = (BASELINE, "aa-focused-spec", "aa-focused-uni", "aa-focused-sim")
FIDELITY = ("adapter-drop", AA, "aa-focused-spec", "aa-focused-sim")
STEP_SIZE = (BASELINE, "rational-only", AA, "aa-focused-sim", "baseline-last-n")


# This project's control experiments: {ReLU, rational} x {every layer, the last N}, AA with and
# without its rational, AdapterDrop, and AA's selected layers against equally many random ones.
CONTROLS = (BASELINE, "rational-only", "baseline-last-n", "rational-last-n", AA, "switch-only",
            "adapter-drop", "aa-focused-spec", "random-n")  # fmt: skip

# The methods of tables and controls together.
EVERY_STUDY = tuple(dict.fromkeys(ALL_TABLES + CONTROLS))


# AdapterHub's other ways to adapt a model; in a table only on request.
OTHERS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("lora", "LoRA", _all, configuration="lora", **_EVERYWHERE),
        Method("ia3", "(IA)^3", _all, configuration="ia3", **_EVERYWHERE),
        Method(
            "prefix-tuning", "Prefix tuning", _all, configuration="prefix_tuning", **_EVERYWHERE
        ),
        Method("parallel", "Parallel adapters", _all, configuration="par_bn", **_EVERYWHERE),
        Method("houlsby", "Houlsby adapters", _all, configuration="double_seq_bn", **_EVERYWHERE),
        Method(
            "full-fine-tuning",
            "Full fine-tuning",
            lambda num_layers: (),
            places="the whole backbone is trained",
            counts_layers=False,
            fine_tunes=True,
        ),
    )
}
METHODS |= OTHERS


def get(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: no such method.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
