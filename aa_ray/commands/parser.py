"""The parser of all commands, and their common options: help, ``--version`` and ``--debug``."""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

import aa_ray
from aa_ray.commands import values
from aa_ray.errors import MOST_SHOWN, WRONG_USAGE, one_line, shortened
from aa_ray.store import provenance

# Maximum width of text for people, in columns.
WIDTH = 79


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the paragraphs of a description, except those with indented lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            part if "\n " in f"\n{part}" else textwrap.fill(part, min(width, WIDTH))
            for part in text.strip("\n").split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """The standard parser with one-line errors, a short help, and shell completion."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown: Collection[str] = ()

    def shorten_help(self, shown: Collection[str]) -> None:
        """Let ``--help`` list only these options, and ``--help-all`` all options."""
        self._shown = shown
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options and exit")

    def error(self, message: str) -> NoReturn:
        """Print one line instead of the whole usage, and exit."""
        said = shortened(one_line(message), 2 * MOST_SHOWN)
        print(f"{self.prog}: {said} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments; also answer a shell that asks for completions."""
        if "_ARGCOMPLETE" in os.environ:
            import argcomplete

            argcomplete.autocomplete(self, always_complete_options="long")
        values.check_text(map(str, (args[0] if args else None) or sys.argv[1:]))
        return super().parse_args(*args, **kwargs)

    def format_help(self) -> str:
        """The help with the shown options only."""
        hidden = [action for action in self._actions if self._shown and not self._is_shown(action)]
        texts = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        text = super().format_help()
        for action, shown in zip(hidden, texts, strict=True):
            action.help = shown
        if hidden:
            text += f"\n--help-all shows {len(hidden)} more options\n"
        return text

    def format_full_help(self) -> str:
        """The help with all options."""
        return super().format_help()

    def _is_shown(self, action: argparse.Action) -> bool:
        basic = {*self._shown, "--help", "--help-all"}
        return not action.option_strings or not basic.isdisjoint(action.option_strings)


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        assert isinstance(parser, Parser)
        print(parser.format_full_help(), end="")
        parser.exit()


class _Version(argparse.Action):
    """Prints version and commit and exits. Git is called only then, not for each help text."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        commit, changed = provenance.commit()
        where = f", commit {commit}" + " with changes" * bool(changed) if commit else ""
        print(f"aa-ray {aa_ray.__version__}{where}")
        parser.exit()


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show version and commit and exit"
    )


def add_debug(group: Any) -> None:
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def completes(action: argparse.Action, names: Iterable[str]) -> None:
    """Let a shell complete the option's value from these names; other values remain allowed."""
    words = list(names)

    def completer(**_: Any) -> Sequence[str]:
        return words

    vars(action)["completer"] = completer  # argcomplete looks for it there


def examples(description: str) -> str:
    """The description, with examples for ``aa-ray`` if that is how it was started.

    The scripts' own examples are ``python studies/table2.py``, which works in a checkout.
    """
    program = os.path.basename(sys.argv[0]).split(" ")[0]
    if program != "aa-ray":
        return description

    def renamed(found: re.Match[str]) -> str:
        return ("aa-ray " * bool(found[1])) + found[2].replace("_", "-")

    text = description.replace("python -m aa_ray ", "aa-ray ")
    return re.sub(r"(python studies/)?\b(\w+)\.py\b", renamed, text)
