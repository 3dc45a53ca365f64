"""The figures of the report's page, each with its title, description and command."""

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

# Maximum number of figures of learned activations: a deep backbone has one per task and regime.
MOST_ACTIVATIONS = 9

# Script -> the command line that draws its figures as on the page.
Command = Callable[[str], str]


@dataclass(frozen=True)
class Picture:
    """A figure of the page, with the text around it.

    Attributes:
        wide: whether it needs the width of the page.
        missing: what it could not show, in one line; empty if nothing.
        table: the numbers behind it, if any.
        command: the command that draws it.
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
        "Each square is a method on one task and number of examples. Learned: its mean test score "
        "is above chance by more than three standard errors of the test set. Chance: it is not. "
        "One class: most of its models give the same answer to all examples. Scores at chance say "
        "nothing about a method."
    )
    return _picture(drawing, "What each method has learned", about, command("plot_status"))


def of_effects(
    drawings: Sequence[Drawing], title: str, margin: float, command: Command
) -> list[Picture]:
    about = (
        "Differences by task and number of examples, and their average, with 95 % intervals. "
        "Hollow: neither method is above chance, so the difference says nothing (for an average: "
        f"in too many cells). Grey: the margin of ±{margin:g} points."
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
    "Each dot is a training run; it is filled if the run takes off, that is, scores above chance. "
    "Black: mean and 95 % interval. Numbers: runs that take off. Dashed: chance."
)


def of_ladder(ladder: Results, command: Command) -> list[Picture]:
    """Test scores against rates, from ``step_size.py``."""
    title = "Test score against learning rate"
    return [
        _picture(drawing, title, _RATES_ABOUT, command("plot_step_size"))
        for drawing in rates.learning_rates(ladder)
    ]


def of_tuning(policies: Mapping[str, Results], command: Command) -> list[Picture]:
    """Development scores against rates, for studies with tuned rates."""
    title = "Development score against learning rate, for the tuning seeds"
    about = f"{_RATES_ABOUT} Arrow: the method's tuned rate. Test scores are not used."
    return [
        _picture(drawing, title, about, command("plot_tuning"))
        for results in policies.values()
        for drawing in rates.tuning_rates(results)
    ]


def of_scores(part: Results, command: Command) -> list[Picture]:
    """The averages of Table 2's methods, if any seed of a method has all tasks."""
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
    """The layers that ``aa`` selected, and the activations that it learned."""
    if not any(row["selected_layers"] is not None for row in part.used):
        return []
    about = (
        "Number of seeds in which a layer's switch picked its adapter. Grey: the range of 95 % of "
        "these numbers if each seed selected as many layers at random; about one layer in twenty "
        "is outside by chance alone. Hollow: AA is at chance there."
    )
    pictures = [
        _picture(drawing, "Layers that AA selected", about, command("plot_layers"))
        for drawing in layers.layers(part)
    ]
    for regime, drawing in itertools.islice(_activations(part), MOST_ACTIVATIONS):
        about = (
            f"The activations of AA with seed {part.study.seeds[0]}: learned (solid), initial "
            "(dashed), distribution of the inputs (shaded). Grey lines: layers that were not "
            "selected."
        )
        title = f"Learned activations, {part.regime_title(regime)}"
        pictures.append(_picture(drawing, title, about, command("plot_rationals")))
    return pictures


def has_averages(results: Results) -> bool:
    """Whether any seed of a method has all of the study's tasks."""
    regimes = results.study.regimes
    return any(results.averages(line, r) for line in results.lines() for r in regimes)


def _activations(results: Results) -> Iterator[tuple[str, Drawing]]:
    """(regime, figure), drawn lazily, since they take most of a page's time."""
    for regime in results.study.regimes:
        yield from ((regime, drawing) for drawing in activations.rationals(results, regime))


def more_activations(results: Results) -> bool:
    """Whether there may be more figures of learned activations than the page shows."""
    study = results.study
    deep = study.backbone.num_layers > activations.MOST_COLUMNS
    return len(study.regimes) * (len(study.tasks) if deep else 1) > MOST_ACTIVATIONS
