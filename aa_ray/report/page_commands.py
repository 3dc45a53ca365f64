"""The command lines on the report's page, which print or draw its parts."""

import shlex
from collections.abc import Sequence

from aa_ray.core import architectures
from aa_ray.data import glue
from aa_ray.report.results import Results
from aa_ray.report.verdicts import MARGIN
from aa_ray.study import plugins

# Study script -> the methods that it runs or shows.
_SCRIPTS = {
    "table2": architectures.TABLE2,
    "table3": architectures.TABLE3,
    "table4": architectures.TABLE4,
    "plot_tables": architectures.TABLE2,
    "plot_layers": architectures.TABLE2,
    "plot_rationals": architectures.TABLE2,
    "claims": architectures.ALL_TABLES,
    "controls": architectures.CONTROLS,
    "contrasts": architectures.CONTROLS,
    "step_size": architectures.STEP_SIZE,
    "fidelity": architectures.FIDELITY,
    "plot_step_size": architectures.STEP_SIZE,
    "plot_status": architectures.EVERY_STUDY,
    "plot_effects": architectures.EVERY_STUDY,
    "plot_tuning": architectures.EVERY_STUDY,
    "report": architectures.ALL_TABLES,
}


# The scripts that train, unless --no-run is given.
_RUNNING = ("table2", "table3", "table4", "controls", "step_size", "fidelity")

# The scripts whose verdicts or pictures have a margin.
_WITH_MARGIN = ("claims", "contrasts", "plot_effects", "report")


def shown_by(script: str, results: Results) -> list[str]:
    """The study's methods that a script shows; custom ones are shown with Table 2's."""
    methods = [name for name in _SCRIPTS[script] if name in results.study.methods]
    if script in ("table3", "table4"):
        return methods
    return methods + [
        name for name in results.study.methods if name not in architectures.ALL_TABLES
    ]


def command_line(
    script: str, results: Results, options: Sequence[str], margin: float = MARGIN
) -> str:
    """The command line of a study's script for the part that the page shows."""
    methods = shown_by(script, results)
    by_default = (*_SCRIPTS[script], *plugins.method_names())
    picked = ["--methods", *methods] if len(methods) < len(by_default) else []
    if results.study.source.location == glue.ROWS and script in _RUNNING:
        picked.append("--no-run")  # without the data nothing can be trained
    if margin != MARGIN and script in _WITH_MARGIN:
        picked += ["--margin", f"{margin:g}"]
    return " ".join(["python", f"studies/{script}.py", shlex.join([*options, *picked])]).rstrip()


def narrowed(options: Sequence[str], results: Results) -> list[str]:
    """The options with their tasks and regimes replaced by the study's."""
    kept: list[str] = []
    dropping = False
    for option in options:
        if option.startswith("--"):
            dropping = option in ("--tasks", "--regimes")
        kept += [] if dropping else [option]
    study = results.study
    return [*kept, "--tasks", *study.tasks, "--regimes", *study.regimes]
