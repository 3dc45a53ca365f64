"""The figures of the report's page, with what the page says around each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aa_ray.report import svg
from aa_ray.report.drawing import PAGE, Drawing, missing_text
from aa_ray.report.figures import activations, effects, layers, rates, scores, status
from aa_ray.report.results import Results
from aa_ray.report.tables import Table

# Figures of learned activations on a page, at most: a deep backbone has one per task and regime.
MOST_ACTIVATIONS = 9

# Script -> the command line that draws what the page shows.
Command = Callable[[str], str]


@dataclass(frozen=True)
class Picture:
    """A figure with what the page says around it.

    Attributes:
        wide: whether it needs the width of the page.
        missing: what it could not show, in one line; empty if nothing.
        table: the numbers behind it, where it has any.
        command: that draws it.
    """

    title: str
    about: str
    svg: Markup
    wide: bool
    missing: str
    table: Table | None
    command: str


def _picture(drawing: Drawing, title: str, about: str, command: str) -> Picture:
    # svg.inline escapes what comes from rows.
    drawn = Markup(svg.inline(drawing.figure, drawing.name, f"{title}. {about}"))  # nosec B704
    wide = drawing.figure.get_figwidth() > PAGE / 2
    return Picture(title, about, drawn, wide, missing_text(drawing.missing), drawing.table, command)


def of_status(policies: Mapping[str, Results], command: Command) -> Picture | None:
    """The map of what each method has learned; None without rows."""
    named = policies if len(policies) > 1 else dict(zip([""], policies.values(), strict=False))
    drawing = status.status_map(named)
    if drawing.table is None or not drawing.table.columns:
        return None
    about = (
        "Each square is a method on one task and number of examples: learned, that is, its mean "
        "test score is above chance by more than three standard errors of the test set; at chance; "
        "or one class, where most of its models give one answer to every example. Scores "
        "at chance say nothing about a method."
    )
    return _picture(drawing, "What each method has learned", about, command("plot_status"))


def of_effects(
    drawings: Sequence[Drawing], title: str, margin: float, command: Command
) -> list[Picture]:
    about = (
        "Differences by task and number of examples, and their average, with 95 % intervals. "
        "Hollow: neither method is above chance, so the difference says nothing (an average: too "
        f"few cells are). Grey: the margin of ±{margin:g} points."
    )
    return [_picture(drawing, title, about, command("plot_effects")) for drawing in drawings]


def of_claims(policies: Mapping[str, Results], margin: float, command: Command) -> list[Picture]:
    """The comparisons behind the claims, as forest plots."""
    title = "The claims' comparisons, task by task"
    return of_effects(effects.claim_effects(policies, margin), title, margin, command)


def of_contrasts(policies: Mapping[str, Results], margin: float, command: Command) -> list[Picture]:
    """The contrasts, as forest plots."""
    title = "The contrasts, task by task"
    return of_effects(effects.contrast_effects(policies, margin), title, margin, command)


_RATES_ABOUT = (
    "A dot is a training run, filled where it takes off; black: mean and 95 % interval; the "
    "numbers count the runs that take off; dashed: chance."
)


def of_ladder(ladder: Results, command: Command) -> list[Picture]:
    """Test scores against rates, of ``step_size.py``."""
    title = "Test score against learning rate"
    return [
        _picture(drawing, title, _RATES_ABOUT, command("plot_step_size"))
        for drawing in rates.learning_rates(ladder)
    ]


def of_tuning(policies: Mapping[str, Results], command: Command) -> list[Picture]:
    """Development scores against rates, of the studies whose rates are tuned."""
    title = "Development score against learning rate, with the seeds that tune it"
    about = f"{_RATES_ABOUT} Arrow: the rate that the method got. No test score takes part."
    return [
        _picture(drawing, title, about, command("plot_tuning"))
        for results in policies.values()
        for drawing in rates.tuning_rates(results)
    ]


def of_scores(part: Results, command: Command) -> list[Picture]:
    """The averages of Table 2's methods, where any seed of a method has all tasks."""
    if not has_averages(part):
        return []
    return [
        _picture(scores.scores(part), "Average score per method",
                 "Blue: mean over tasks and seeds with its 95 % interval; grey: single seeds.",
                 command("plot_tables")),
        _picture(scores.score_against_parameters(part), "Score against adapter parameters",
                 "The parameters of the adapters in use at inference.", command("plot_tables")),
    ]  # fmt: skip


def of_selections(part: Results, command: Command) -> list[Picture]:
    """What ``aa`` selected and learned."""
    if not any(row["selected_layers"] is not None for row in part.used):
        return []
    about = (
        "In how many seeds the switch of a layer picked its adapter. Grey: where 95 % of the "
        "numbers would lie if each seed's layers were drawn at random, as many as it selected; "
        "about one layer in twenty lies outside by chance alone. Hollow: AA is at chance there."
    )
    pictures = [
        _picture(drawing, "Layers that AA selected", about, command("plot_layers"))
        for drawing in layers.layers(part)
    ]
    for regime, drawing in itertools.islice(_activations(part), MOST_ACTIVATIONS):
        about = (
            f"What AA learned with seed {part.study.seeds[0]}: learned (solid), initial (dashed), "
            "the inputs seen (shaded); grey lines: layers that were not selected."
        )
        title = f"Learned activations, {part.regime_title(regime)}"
        pictures.append(_picture(drawing, title, about, command("plot_rationals")))
    return pictures


def has_averages(results: Results) -> bool:
    """Whether any seed of a method has all of the study's tasks."""
    regimes = results.study.regimes
    return any(results.averages(line, r) for line in results.lines() for r in regimes)


def _activations(results: Results) -> Iterator[tuple[str, Drawing]]:
    """(regime, figure), drawn when asked for: they take the most time of a page."""
    for regime in results.study.regimes:
        yield from ((regime, drawing) for drawing in activations.rationals(results, regime))


def more_activations(results: Results) -> bool:
    """Whether there may be more figures of learned activations than the page shows."""
    study = results.study
    deep = study.backbone.num_layers > activations.MOST_COLUMNS
    return len(study.regimes) * (len(study.tasks) if deep else 1) > MOST_ACTIVATIONS
