"""aa_ray.core.architectures: a method's description of itself."""

import adapters
import pytest

from aa_ray.core import architectures, configurations
from aa_ray.core.architectures import (
    AA,
    ALL_TABLES,
    BASELINE,
    EFFICIENCY,
    FIDELITY,
    METHODS,
    OTHERS,
    RATIONAL,
    SPEC,
    STEP_SIZE,
    TABLE2,
    TABLE3,
    TABLE4,
    UNI,
    Method,
    MethodLine,
)


@pytest.mark.parametrize(
    ("activation", "switched", "rates"),
    [
        ("relu", False, ("adapter",)),
        (RATIONAL, False, ("adapter", "rational")),
        ("rational:gelu", True, ("adapter", "rational", "switch")),
        ("gelu", True, ("adapter", "switch")),
    ],
)
def test_a_method_has_the_rates_of_its_parts(
    activation: str, switched: bool, rates: tuple[str, ...]
) -> None:
    method = Method("m", "M", lambda n: (), activation, switched)
    assert method.rates == rates and method.rational == ("rational" in rates)


def test_a_method_has_a_line_or_one_per_inference_depth() -> None:
    assert METHODS[AA].lines == (MethodLine("AA"),)
    assert METHODS[AA].inference_depths([]) is None
    drop = METHODS["adapter-drop"]
    assert [line.title for line in drop.lines] == ["AdapterDrop^AA", "AdapterDrop^N"]
    assert drop.inference_depths([(0, 1, 5), (2,)]) == (1, 3)
    assert drop.inference_depths([(3,), (2,)]) == (1,)  # two lines share a depth
    assert drop.inference_depths([(), (2,)]) == (0, 1)


def test_depths_belong_to_selections_whatever_their_order() -> None:
    lines = (MethodLine("uni", UNI), MethodLine("spec", SPEC))
    method = Method("m", "M", lambda n, *_: tuple(range(n)), needs=(SPEC, UNI), depths=lines)
    assert method.inference_depths([(0, 1, 5), ()]) == (0, 3)


def test_tables_show_methods_that_exist() -> None:
    for names in (ALL_TABLES, EFFICIENCY, FIDELITY, STEP_SIZE):
        assert set(names) <= METHODS.keys() and len(set(names)) == len(names)
    assert set(ALL_TABLES) == {*TABLE2, *TABLE3, *TABLE4} and ALL_TABLES[: len(TABLE2)] == TABLE2
    for method in METHODS.values():
        assert {line.depth for line in method.depths} <= set(method.needs)
        assert method.counts_layers == (method.name not in (BASELINE, *OTHERS))


def test_configurations_are_adapterhubs() -> None:
    for method in METHODS.values():
        assert (method.configuration is None) == (method.name not in OTHERS) or method.fine_tunes
        if method.configuration is not None:
            assert isinstance(configurations.read(method.configuration), adapters.AdapterConfig)


def test_public_names_are_those_of_the_documentation() -> None:
    from aa_ray import architectures as public

    for name in public.__all__:
        assert getattr(public, name) is getattr(architectures, name)
