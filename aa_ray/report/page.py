"""The report: a study's results as one self-contained HTML page, to read, keep and print.

The page is a function of the rows (and of the data, for Table 1's counts). It loads nothing: style,
script, figures and curves are inline, and its content security policy forbids everything else. All
text from rows is escaped.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from aa_ray.core import architectures
from aa_ray.core.architectures import Method
from aa_ray.data import regimes, tasks
from aa_ray.report import (
    claims,
    contrasts,
    markup,
    page_tables,
    pictures,
    provenance_page,
    strips,
    summary,
)
from aa_ray.report.beside import Beside
from aa_ray.report.judgement import Judgement
from aa_ray.report.page_commands import command_line, shown_by
from aa_ray.report.page_tables import ShownTable
from aa_ray.report.pictures import Command
from aa_ray.report.results import Results, inference_depth
from aa_ray.report.tables import DASH
from aa_ray.report.text import listed, seeds_text
from aa_ray.report.verdicts import FAILS, HOLDS, MARGIN, NOT_RUN, OPEN, UNINFORMATIVE

NOTHING = Beside()

# The figures that show the methods of all studies.
_OF_EVERY_STUDY = ("plot_status", "plot_effects")

_TEMPLATES = resources.files("aa_ray.report") / "templates"


def page(
    results: Results,
    options: Sequence[str] = (),
    beside: Beside = NOTHING,
    margin: float = MARGIN,
) -> str:
    """The report of a study, finished or not, as HTML.

    Args:
        results: results of a study with some or all methods of ``architectures.ALL_TABLES``.
        options: command-line options that describe the study, for the commands on the page.
        beside: further studies with rows in the same folder.
        margin: points within which two methods are on par.

    Raises:
        UsageError: see ``Results``.
    """
    judgements = claims.judge(results, margin)
    judged = (
        contrasts.judge(beside.policies, contrasts.Look(margin=margin)) if beside.policies else {}
    )
    groups = provenance_page.groups(results)
    tables = page_tables.of_the_paper(results, options)
    of_claims = claims.table(results, margin, judgements)
    rates = _rates(beside)

    def command(script: str) -> str:
        # The results with the most methods decide whether a command needs to name them.
        widest = next(iter(beside.policies.values()), results)
        shown = widest if script in _OF_EVERY_STUDY else results
        return command_line(script, shown, options, margin)

    return (
        _environment()
        .get_template("report.html")
        .render(
            **_assets(),
            **_figures(results, beside, margin, command),
            study=results.study,
            study_regimes=[results.regime_title(regime) for regime in results.study.regimes],
            study_tasks=[tasks.get(task).title for task in results.study.tasks],
            seeds=seeds_text(results.study.seeds),
            not_asked=_not_asked(results),
            dash=DASH,
            counts=results.counts(),
            runs=len(provenance_page.distinct(results)),
            sentences=summary.sentences(judgements, judged, rates),
            rates=rates,
            margin=f"{margin:g}",
            verdicts=_counted_verdicts(judgements),
            claims_table=of_claims,
            judgements=[
                (judgement, strips.strip(judgement, margin), entries)
                for judgement, (_, entries) in zip(
                    judgements, of_claims.sections[0].lines, strict=True
                )
                if judgement.verdict != NOT_RUN
            ],
            unmeasured=[judgement for judgement in judgements if judgement.verdict == NOT_RUN],
            strip_end=f"{strips.SHOWN_POINTS:g}",
            methods=_methods(results),
            first_table=page_tables.first_table(results, options),
            tables=[shown for shown in tables if shown.has_entries],
            all_tables=tables,
            against=page_tables.against(results, beside, margin),
            others=page_tables.of_others(beside, options, margin),
            groups=groups,
            curves={group.key: group.curves for group in groups},
            gaps=provenance_page.gaps(results),
            failures=results.failures(),
            provenance=provenance_page.provenance(results),
            notes=[*_notes(tables), *_same_runs(results)],
            command=command,
        )
    )


def _rates(beside: Beside) -> str:
    """The learning rates of the page's verdicts in words; those of the last policy."""
    if not beside.policies:
        return ""
    name = list(beside.policies)[-1]
    known = {
        "released": "the released rates",
        "tuned": "tuned rates",
        "backbone": "the backbone's default rates",
    }
    return known.get(name, f"an adapter rate of {name}")


def _counted_verdicts(judgements: Sequence[Judgement]) -> list[tuple[str, int]]:
    counts = Counter(judgement.verdict for judgement in judgements)
    order = (HOLDS, FAILS, OPEN, UNINFORMATIVE, NOT_RUN)
    return [(verdict, counts[verdict]) for verdict in order if counts[verdict]]


def _not_asked(results: Results) -> str:
    """The paper's tasks and regimes that are not in the study."""
    study = results.study
    names = [task.title for task in tasks.TASKS.values()
             if task.origin is None and task.name not in study.tasks]  # fmt: skip
    sizes = [regime.title for regime in regimes.PAPER if regime.name not in study.regimes]
    return " and ".join(filter(None, (listed(names, none=""), listed(sizes, none=""))))


def _figures(results: Results, beside: Beside, margin: float, command: Command) -> dict[str, Any]:
    """The pictures of the page by section."""
    policies = beside.policies or {"": results}
    drawn = results.only(shown_by("plot_tables", results))
    rows = bool(results.used)
    return {
        "status_map": pictures.of_status(policies, command),
        "claim_pictures": pictures.of_claims(policies, margin, command) if rows else [],
        "pictures": [
            *(pictures.of_scores(drawn, command) if rows else []),
            *(pictures.of_selections(drawn, command) if rows else []),
        ],
        "averages": pictures.has_averages(drawn),
        "more_activations": pictures.more_activations(results),
    }


def _environment() -> jinja2.Environment:
    """Jinja with the page's filters; it escapes everything that is not ``Markup``."""
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
        "minus": markup.minus,
    }
    return environment


def _assets() -> dict[str, Markup | str]:
    """The script, its digest for the content security policy, and the style sheet."""
    script, sheet = (Markup(_TEMPLATES.joinpath(f"report.{kind}").read_text("utf-8"))  # nosec B704
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


def _same_runs(results: Results) -> list[str]:
    """A note if methods of the tables are the same training runs, and so not separate evidence."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for line in results.lines():
        rows = [
            f"{row['trial_id']} {inference_depth(row)}"
            for regime in results.study.regimes
            for of_task in results.rows(line, regime).values()
            for row in of_task.values()
        ]
        groups.setdefault(tuple(rows), []).append(line.title)
    return [
        f"{listed(titles[:-1])} and {titles[-1]} are the same training runs here, so a result for "
        "one is no additional evidence for the other."
        for rows, titles in groups.items()
        if rows and len(titles) > 1
    ]


def _notes(tables: Iterable[ShownTable]) -> list[str]:
    """The warnings at the end of the captions, without duplicates."""
    lines = (line for shown in tables for line in shown.full.caption.splitlines())
    notes = (line.removeprefix("Note: ") for line in lines if line.startswith("Note: "))
    return list(dict.fromkeys(note[0].upper() + note[1:] for note in notes))
