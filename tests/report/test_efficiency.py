"""aa_ray.report.efficiency: counts and interleaved timings."""

from collections.abc import Callable
from typing import Any

import pytest

from aa_ray.core.architectures import EFFICIENCY
from aa_ray.core.backbones import Backbone
from aa_ray.data.glue import Source
from aa_ray.errors import UsageError
from aa_ray.report import efficiency
from aa_ray.report.measurement import REPEATS, measure
from aa_ray.report.results import Results
from aa_ray.trial import Trial
from tests.study.test_grid import make_study


def results(backbone: Any) -> Results:
    study = make_study(
        methods=EFFICIENCY, tasks=("sst2",), backbone=backbone, source=Source("embedded")
    )
    return Results(study, [])


def test_counts_bytes_and_times(tiny: Backbone, make_trial: Callable[..., Trial]) -> None:
    trials = {
        "Baseline": make_trial(),
        "focused": make_trial(layers=(2,), activation="rational:one"),
        "empty": make_trial(layers=()),
    }
    found = measure(trials, results(tiny).study)
    per_layer = 32 * 2 + 2 + 2 * 32 + 32
    assert found["Baseline"].parameters == 3 * per_layer
    assert found["focused"].parameters == per_layer + 10
    assert found["empty"].parameters == 0
    assert found["Baseline"].stored_bytes > 4 * 3 * per_layer > found["empty"].stored_bytes
    for one in found.values():
        assert len(one.train_seconds) == len(one.test_seconds) == REPEATS
        assert min(one.train_seconds + one.test_seconds) > 0


def test_unknown_selections_are_named(tiny: Backbone) -> None:
    with pytest.raises(UsageError, match=r"its layers are not known yet; run studies/table2\.py"):
        efficiency.table(results(tiny))


def test_without_the_reference_nothing_is_measured(tiny: Backbone) -> None:
    part = results(tiny).only(["aa-focused-sim"])
    with pytest.raises(UsageError, match="compared with Baseline; add baseline to --methods"):
        efficiency.table(part)
