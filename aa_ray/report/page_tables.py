"""The tables of the report's page, each with its title, description and command."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from aa_ray.data import glue, tasks
from aa_ray.errors import UsageError
from aa_ray.report import against as changes
from aa_ray.report import contrasts, fidelity, paper_tables, pictures, step_size, tuned_rates
from aa_ray.report.beside import Beside
from aa_ray.report.page_commands import command_line, narrowed, shown_by
from aa_ray.report.pictures import Picture
from aa_ray.report.results import Results
from aa_ray.report.tables import DASH, Section, Table


@dataclass(frozen=True)
class ShownTable:
    """A table of the page, with the text around it.

    Attributes:
        anchor, title: its place on the page.
        about: what it shows, in a sentence.
        table: the table without columns and lines for which the study has no data.
        full: the table as the command prints it.
        command: the command that prints it.
        pictures: the figures that belong to it.
    """

    anchor: str
    title: str
    about: str
    table: Table
    full: Table
    command: str
    pictures: Sequence[Picture] = ()

    @property
    def has_entries(self) -> bool:
        """Whether it has any entry other than a dash."""
        return any(
            entry.text != DASH
            for section in self.table.sections
            for _, entries in section.lines
            for entry in entries
        )

    @property
    def formats(self) -> dict[str, str]:
        """Its other formats, for copying."""
        return {"LaTeX": self.full.render("latex"), "Markdown": self.full.render("markdown"),
                "CSV": self.full.render("csv")}  # fmt: skip


# Study script -> title, description.
_TABLES = {
    "table2": ("Table 2", "Baseline, AdapterDrop, AA and the three AA-focused architectures."),
    "table3": (
        "Table 3",
        "AA-focused on the last layers: as many as AA selected for QQP (N), one less, two less.",
    ),
    "table4": ("Table 4", "What the switch and the rational activation each contribute."),
}


def first_table(results: Results, options: Sequence[str]) -> ShownTable | str:
    """Table 1 for the study's tasks, or a line that says why it is not available."""
    study = results.study
    if study.source.location == glue.ROWS:
        return "Rows hold no examples. To print Table 1, name the data: table1.py --data DIR"
    try:
        full = paper_tables.table1(study.source, study.tasks)
    except UsageError as error:
        return f"Table 1 (the tasks and their sizes) is not shown: {error}"
    location = shlex.quote(study.source.location)
    data = options[list(options).index("--data") + 1] if "--data" in options else location
    command = f"python studies/table1.py --data {shlex.quote(data)}"
    return ShownTable("table1", "Table 1", "The tasks and their sizes.", full, full, command)


def of_the_paper(results: Results, options: Sequence[str]) -> list[ShownTable]:
    """Tables 2 to 4, as far as the study has methods for them."""
    tables = []
    for script, (title, about) in _TABLES.items():
        part = results.only(shown_by(script, results))
        if part.study.methods:
            full = paper_tables.method_table(title, part)
            command = command_line(script, results, options)
            table = _without_other_tasks(full, results).without_empty_lines()
            tables.append(ShownTable(script, title, about, table, full, command))
    return tables


def _without_other_tasks(table: Table, results: Results) -> Table:
    """The table without columns of tasks that are not in the study."""
    columns = {tasks.get(task).title for task in results.study.tasks}
    return _with(table, columns | {"Avg", paper_tables.LEARNED_AVERAGE})


def _with(table: Table, columns: Collection[str]) -> Table:
    """The table with only these columns."""
    kept = [i for i, column in enumerate(table.columns) if column in columns]
    sections = [
        Section(s.heading, [(label, [line[i] for i in kept]) for label, line in s.lines])
        for s in table.sections
    ]
    return Table(table.caption, [table.columns[i] for i in kept], sections)


# The columns that fit on the page; the others are in the table's other formats.
_OF_CONTRASTS = ("effect", "95 % interval", "learned", "p differs", "p on par", "verdict")


def of_others(beside: Beside, options: Sequence[str], margin: float) -> list[ShownTable]:
    """The tables of further studies with rows, with their figures."""
    return [
        *_contrasts(beside, options, margin),
        *_step_size(beside, options),
        *_fidelity(beside, options),
    ]


@dataclass(frozen=True)
class Against:
    """The comparison with other results.

    Attributes:
        name: name of the other results.
        facts: (fact, here, there) in which the two differ.
        tables: the tables of verdicts and of scores.
    """

    name: str
    facts: Sequence[tuple[str, str, str]]
    tables: Sequence[Table]


def against(results: Results, beside: Beside, margin: float) -> Against | None:
    """The comparison with other results, if requested."""
    if beside.against is None:
        return None
    name, there = beside.against
    compared = (changes.verdicts_table(results, there, name, margin),
                changes.scores_table(results, there, name))  # fmt: skip
    shown = [table for table in compared if any(section.lines for section in table.sections)]
    return Against(name, changes.differences(results, there), shown)


def _contrasts(beside: Beside, options: Sequence[str], margin: float) -> list[ShownTable]:
    if not beside.policies:
        return []
    results = next(iter(beside.policies.values()))
    drawn = pictures.of_contrasts(
        beside.policies, margin, lambda script: command_line(script, results, options, margin)
    )
    if not drawn:  # no contrast has rows
        return []
    table = contrasts.table(beside.policies, contrasts.Look(margin=margin))
    about = (
        "What the rational activation, fewer layers and the selection of layers each contribute, "
        "and whether AA's advantage over Baseline depends on the learning rates."
    )
    command = command_line("contrasts", results, options, margin)
    title = "The parts of AA, and the rates"
    shown = _with(table, _OF_CONTRASTS)
    return [ShownTable("contrasts", title, about, shown, table, command, drawn)]


def _step_size(beside: Beside, options: Sequence[str]) -> list[ShownTable]:
    """The sweeps over learning rates: of ``step_size.py``, and of the tuning seeds."""
    shown = []
    for name, results in beside.policies.items():
        if results.study.tuning is not None:
            shown += _tuning(name, results, options)
    if beside.ladder is not None:
        ladder = beside.ladder
        options = narrowed(options, ladder)
        table = step_size.table(ladder)
        drawn = pictures.of_ladder(ladder, lambda script: command_line(script, ladder, options))
        about = "Does AA-focused win by its architecture, or by parameters that learn faster?"
        command = command_line("step_size", ladder, options)
        title = "Architecture or step size"
        shown.append(ShownTable("step_size", title, about, table, table, command, drawn))
    return shown


def _tuning(name: str, results: Results, options: Sequence[str]) -> list[ShownTable]:
    table = tuned_rates.table("Rates", results)
    command = command_line("plot_tuning", results, options)
    drawn = pictures.of_tuning({name: results}, lambda script: command)
    about = "The learning rate that tuning gave each method, on seeds used for nothing else."
    return [ShownTable("tuning", "Tuned rates", about, table, table, command, drawn)] * bool(drawn)


def _fidelity(beside: Beside, options: Sequence[str]) -> list[ShownTable]:
    if beside.fidelity is None:
        return []
    table = fidelity.table(beside.fidelity).without_empty_lines()
    options = narrowed(options, beside.fidelity)
    about = "What each difference between the paper's text and its released code does to scores."
    command = command_line("fidelity", beside.fidelity, options)
    title = "Paper and released code"
    return [ShownTable("fidelity", title, about, table, table, command)]
