"""``aa-ray``: all studies and commands under one name, from a checkout or an installed wheel.

A study is a script in ``studies/``, which a wheel contains as ``aa_ray/studies``. Only the
requested one is loaded, so that ``--help`` need not wait for the others.
"""

import ast
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import aa_ray
from aa_ray.commands import study, subcommands
from aa_ray.commands.parser import WIDTH
from aa_ray.errors import WRONG_USAGE

PROGRAM = "aa-ray"

# The studies by purpose, in the order of the help. Studies not named here come last.
GROUPS = {
    "train and print a table": (
        "table2", "table3", "table4", "appendix-a", "controls", "step-size", "fidelity",
    ),
    "read existing rows": (
        "report", "claims", "contrasts", "policies", "cells", "efficiency", "table1",
    ),
}  # fmt: skip
FIGURES = "draw figures from existing rows"
OTHERS = "others"


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the study or command that the command line names, and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    scripts = studies()
    name = given[0].replace("_", "-") if given else ""
    if completing():
        name = _study_being_completed()
    if name in scripts:
        return _run_study(scripts[name], f"{PROGRAM} {name}", given[1:])
    if not given and not completing():
        subcommands.parser(program, overview()).print_help(sys.stderr)
        return WRONG_USAGE
    return study.one(subcommands.parser(program, overview(), list(scripts)), given)


def studies() -> dict[str, Path]:
    """Name on the command line -> the study's script."""
    package = Path(aa_ray.__file__).parent
    folders = (package / "studies", package.parent / "studies")  # in a wheel, in a checkout
    folder = next((folder for folder in folders if (folder / "table2.py").is_file()), None)
    scripts = [] if folder is None else sorted(folder.glob("*.py"))
    return {path.stem.replace("_", "-"): path for path in scripts}


def title(script: Path) -> str:
    """The purpose of a study in one line: the first sentence of its docstring."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    end = min((paragraph.find(mark) for mark in (". ", "? ") if mark in paragraph), default=-1)
    return (paragraph if end < 0 else paragraph[: end + 1]).rstrip(".")


def overview() -> str:
    """The studies in their groups, one line each, for ``--help``."""
    left = studies()
    groups = {heading: [n for n in names if n in left] for heading, names in GROUPS.items()}
    groups[FIGURES] = [name for name in left if name.startswith("plot-")]
    known = {name for names in groups.values() for name in names}
    groups[OTHERS] = [name for name in left if name not in known]
    width = max(map(len, left), default=0)
    lines = []
    for heading, names in groups.items():
        if names:
            entries = (_entry(name, title(left[name]), width) for name in names)
            lines += [f"{heading}:", *entries, ""]
    return "\n".join(lines)


def _entry(name: str, text: str, width: int) -> str:
    """A name padded to ``width``, with its description wrapped beside it."""
    lead = f"  {name:{width}}  "
    return textwrap.fill(text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead))


def _run_study(script: Path, program: str, arguments: Sequence[str]) -> int:
    """Run the script as if from a shell, and return its exit status."""
    code = compile(script.read_text("utf-8"), str(script), "exec")
    before = sys.argv
    sys.argv = [program, *arguments]  # runpy would use the script's path as the program
    try:
        exec(code, {"__name__": "__main__", "__file__": str(script)})  # nosec B102
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return 0


def completing() -> bool:
    """Whether a shell is asking for completions of the command line."""
    return "_ARGCOMPLETE" in os.environ


def _study_being_completed() -> str:
    """The study or command on the line; empty while that word is being typed.

    After a study's name, it tells argcomplete that the study's options start there.
    """
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "0") or 0) or None]
    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        return ""
    name = words[1].replace("_", "-")
    if name in studies():
        os.environ["_ARGCOMPLETE"] = "2"
    return name
