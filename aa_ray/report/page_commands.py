"""The command lines that the report's page names: what prints or draws what it shows."""

import shlex
from collections.abc import Sequence

from aa_ray.core import architectures
from aa_ray.data import glue
from aa_ray.report.results import Results
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
    "report": architectures.ALL_TABLES,
}


def shown_by(script: str, results: Results) -> list[str]:
    """The study's methods that a script shows; custom ones stand beside Table 2's."""
    methods = [name for name in _SCRIPTS[script] if name in results.study.methods]
    if script in ("table3", "table4"):
        return methods
    return methods + [
        name for name in results.study.methods if name not in architectures.ALL_TABLES
    ]


def command_line(script: str, results: Results, options: Sequence[str]) -> str:
    """The command line of a study's script that shows what the page shows."""
    methods = shown_by(script, results)
    by_default = (*_SCRIPTS[script], *plugins.method_names())
    picked = ["--methods", *methods] if len(methods) < len(by_default) else []
    if results.study.source.location == glue.ROWS and script.startswith("table"):
        picked.append("--no-run")  # without the data nothing can be trained
    return " ".join(["python", f"studies/{script}.py", shlex.join([*options, *picked])]).rstrip()
