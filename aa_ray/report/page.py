"""The report: a study's results as one HTML page that needs nothing else, to read, keep and print.

The page is a function of the rows (and of the data, for Table 1's counts). It loads nothing: style,
script, figures and curves are inside, and its content security policy forbids the rest. Whatever
comes from rows is escaped.
"""

import base64
import hashlib
import itertools
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from aa_ray.core import architectures
from aa_ray.core.architectures import Method
from aa_ray.data import tasks
from aa_ray.errors import UsageError
from aa_ray.report import claims, figures, markup, paper_tables, provenance_page, svg
from aa_ray.report.drawing import PAGE, Drawing
from aa_ray.report.page_commands import command_line, shown_by
from aa_ray.report.results import Results
from aa_ray.report.tables import DASH, Section, Table

# Figures of learned activations on a page, at most: a deep backbone has one per task and regime.
MOST_ACTIVATIONS = 9

_TEMPLATES = resources.files("aa_ray.report") / "templates"


@dataclass(frozen=True)
class ShownTable:
    """A table with what the page says around it.

    Attributes:
        anchor, title: its place on the page.
        about: what it is, in a sentence.
        table: without the columns that the study has nothing for.
        full: as the command prints it.
        command: that prints it.
    """

    anchor: str
    title: str
    about: str
    table: Table
    full: Table
    command: str

    @property
    def formats(self) -> dict[str, str]:
        """Its other forms, to copy."""
        return {"LaTeX": self.full.render("latex"), "Markdown": self.full.render("markdown"),
                "CSV": self.full.render("csv")}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure with what the page says around it.

    Attributes:
        wide: whether it needs the width of the page.
        missing: what it could not show.
    """

    title: str
    about: str
    svg: Markup
    wide: bool
    missing: list[str]
    command: str


def page(results: Results, options: Sequence[str] = ()) -> str:
    """The report of a study, finished or not, as HTML.

    Args:
        results: of a study with the methods of ``architectures.ALL_TABLES``, or some of them.
        options: of the command line that describe the study, for the commands that the page names.

    Raises:
        UsageError: see ``Results``.
    """
    judgements = claims.judge(results)
    tables = _tables(results, options)
    groups = provenance_page.groups(results)
    drawn = results.only(shown_by("plot_tables", results))
    return (
        _environment()
        .get_template("report.html")
        .render(
            **_assets(),
            study=results.study,
            study_regimes=[results.regime_title(regime) for regime in results.study.regimes],
            study_tasks=[tasks.get(task).title for task in results.study.tasks],
            dash=DASH,
            counts=results.counts(),
            trainings=len(provenance_page.distinct(results)),
            verdicts=Counter(judgement.verdict for judgement in judgements),
            claims_table=claims.table(results, judgements),
            judgements=[(judgement, markup.strip(judgement)) for judgement in judgements],
            methods=_methods(results),
            first_table=_first_table(results, options),
            at_chance=claims.AT_CHANCE,
            tables=tables,
            pictures=_pictures(drawn, options) if results.used else [],
            averages=_has_averages(drawn),
            more_activations=_more_activations(results),
            groups=groups,
            curves={group.key: group.curves for group in groups},
            gaps=provenance_page.gaps(results),
            failures=results.failures(),
            provenance=provenance_page.provenance(results),
            notes=_notes(tables),
            command=lambda script: command_line(script, results, options),
        )
    )


def _environment() -> jinja2.Environment:
    """Jinja with the page's filters; it escapes whatever is no ``Markup``."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("aa_ray.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "label": markup.label,
        "words": markup.words,
        "interval": markup.interval,
    }
    return environment


def _assets() -> dict[str, Markup | str]:
    """The script, its digest for the content security policy, and the style sheet."""
    script, sheet = (Markup(_TEMPLATES.joinpath(f"report.{kind}").read_text("utf-8"))
                     for kind in ("js", "css"))  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": script, "script_digest": digest, "sheet": sheet}


def _methods(results: Results) -> list[tuple[str, str, str, str]]:
    """The study's methods: title, layers, activation, switch."""
    methods = map(architectures.get, results.study.methods)
    return [(m.title, m.places, _activation(m), "yes" if m.switched else "no") for m in methods]


def _activation(method: Method) -> str:
    """The activation's name, without a rational's settings and a custom one's hash."""
    if method.activation == architectures.RELU:
        return "ReLU"
    return method.activation.partition(":")[0].partition("@")[0]


# Study script -> title, what it is.
_TABLES = {
    "table2": ("Table 2", "Baseline, AdapterDrop, AA and the three AA-focused architectures."),
    "table3": (
        "Table 3",
        "AA-focused on the last layers: as many as AA selected for QQP (N), one less, two less.",
    ),
    "table4": ("Table 4", "What the switch and the rational activation each contribute."),
}


def _first_table(results: Results, options: Sequence[str]) -> ShownTable | str:
    """Table 1 of the study's tasks; where the data is not there, one line that says so."""
    study = results.study
    try:
        full = paper_tables.table1(study.source, study.tasks)
    except UsageError as error:
        return str(error)
    location = shlex.quote(study.source.location)
    data = options[list(options).index("--data") + 1] if "--data" in options else location
    command = f"python studies/table1.py --data {shlex.quote(data)}"
    return ShownTable("table1", "Table 1", "The tasks and their sizes.", full, full, command)


def _tables(results: Results, options: Sequence[str]) -> list[ShownTable]:
    """Tables 2 to 4, those of them that the study has methods for."""
    tables = []
    for script, (title, about) in _TABLES.items():
        part = results.only(shown_by(script, results))
        if part.study.methods:
            full = paper_tables.method_table(title, part)
            command = command_line(script, results, options)
            shown = ShownTable(
                script, title, about, _without_other_tasks(full, results), full, command
            )
            tables.append(shown)
    return tables


def _without_other_tasks(table: Table, results: Results) -> Table:
    """The table without the columns of tasks that the study does not have."""
    columns = {tasks.get(task).title for task in results.study.tasks}
    columns |= {"Avg", paper_tables.LEARNED_AVERAGE}
    kept = [i for i, column in enumerate(table.columns) if column in columns]
    sections = [
        Section(s.heading, [(label, [line[i] for i in kept]) for label, line in s.lines])
        for s in table.sections
    ]
    return Table(table.caption, [table.columns[i] for i in kept], sections)


def _pictures(part: Results, options: Sequence[str]) -> list[Picture]:
    """The figures of the study's Table 2, whose methods' results these are."""

    def picture(drawing: Drawing, title: str, about: str, script: str) -> Picture:
        drawn = Markup(svg.inline(drawing.figure, drawing.name, f"{title}. {about}"))
        command = command_line(script, part, options)
        wide = drawing.figure.get_figwidth() > PAGE / 2
        return Picture(title, about, drawn, wide, drawing.missing, command)

    pictures = []
    if _has_averages(part):
        pictures += [
            picture(figures.scores(part), "Average score per method",
                    "Points: mean over tasks and seeds; bars: 95 % interval over the seeds.",
                    "plot_tables"),
            picture(figures.score_against_parameters(part), "Score against adapter parameters",
                    "The parameters of the adapters in use at inference.", "plot_tables"),
        ]  # fmt: skip
    if not any(row["selected_layers"] is not None for row in part.used):
        return pictures
    pictures.append(
        picture(figures.layers(part), "Layers that AA selected", "Share of the seeds in which the "
                "switch of a layer picked its adapter.", "plot_layers")
    )  # fmt: skip
    for regime, drawing in itertools.islice(_activations(part), MOST_ACTIVATIONS):
        about = (
            f"What AA learned with seed {part.study.seeds[0]}: learned (solid), initial (dashed), "
            "the inputs seen (shaded); grey lines: layers that were not selected."
        )
        title = f"Learned activations, {part.regime_title(regime)}"
        pictures.append(picture(drawing, title, about, "plot_rationals"))
    return pictures


def _has_averages(results: Results) -> bool:
    """Whether any seed of a method has all of the study's tasks."""
    regimes = results.study.regimes
    return any(results.averages(line, r) for line in results.lines() for r in regimes)


def _activations(results: Results) -> Iterator[tuple[str, Drawing]]:
    """(regime, figure), drawn when asked for: they take the most time of a page."""
    for regime in results.study.regimes:
        yield from ((regime, drawing) for drawing in figures.rationals(results, regime))


def _more_activations(results: Results) -> bool:
    """Whether there may be more figures of learned activations than the page shows."""
    study = results.study
    deep = study.backbone.num_layers > figures.MOST_COLUMNS
    return len(study.regimes) * (len(study.tasks) if deep else 1) > MOST_ACTIVATIONS


def _notes(tables: Iterable[ShownTable]) -> list[str]:
    """The warnings that the captions end with, each once."""
    lines = (line for shown in tables for line in shown.full.caption.splitlines())
    notes = (line.removeprefix("Note: ") for line in lines if line.startswith("Note: "))
    return list(dict.fromkeys(note[0].upper() + note[1:] for note in notes))
