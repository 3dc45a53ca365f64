"""The subcommands of ``aa-ray`` and their options.

Each imports its implementation only when it runs, so that ``--help`` and wrong options answer
immediately.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_ray.commands import options, values
from aa_ray.commands.parser import Formatter, Parser, add_debug, add_version, examples
from aa_ray.errors import UsageError

RUN = """Train one trial; show its settings, learning curve, layers and scores.

The row is saved in --results, where studies find it. If the trial already has
a row, it is shown from there. The defaults are minilm and generated sentences.
Ray is not needed.

    python -m aa_ray run --task sst2 --method aa
    python -m aa_ray run --task rte --method aa --data DIR --save out
"""
EXPORT = """Write a trial's adapter for AdapterHub, with head, card and coefficients.

This trains the trial, since rows hold no weights. If it already has a row, the
new scores are compared with it. If the folder already holds the trial's
adapter, nothing is trained.

    python -m aa_ray export --task sst2 --method aa --output out
    python -m aa_ray export --task sst2 --method aa --output out --push me/sst2
"""
COMPACT = """Merge the rows of finished trials, one file each, into a few files.

Reading many thousand files takes minutes, and longer on an object store.
Nothing else changes, and studies may keep running.

    python -m aa_ray compact --results s3://my-bucket/results
"""


WATCH = """Show how the trials in a results folder are doing, wherever they run.

Reads finished rows and the checkpoints of running trials. Ctrl-C ends the
view; the study continues.

    python -m aa_ray watch
    python -m aa_ray watch --results s3://my-bucket/results --seconds 30
"""
DOCTOR = """Check in about a minute whether a machine or cluster is ready for a study.

Prints a line per check: ok, slow or broken, with advice. On random models it
tries kernels, compares numbers and times steps; nothing is downloaded.
The exit status is 1 if something is broken.

    python -m aa_ray doctor
    python -m aa_ray doctor --address auto --results s3://my-bucket/results
"""
COMPLETION = """Print a script that lets the shell complete studies, commands and options.

    eval "$(aa-ray completion bash)"     # for this shell
    aa-ray completion zsh >> ~/.zshrc    # for all shells
"""
SHELLS = ("bash", "zsh", "fish")


def parser(program: str, overview: str = "", studies: Sequence[str] = ()) -> Parser:
    """The parser; each subcommand sets ``work``, which takes the options.

    Args:
        program: its name, as typed.
        overview: overview of the studies for ``--help``.
        studies: names that a shell may complete, in addition to the subcommands.
    """
    parser = Parser(
        prog=program,
        description="Run the studies of Adaptable Adapters, or one trial at a time.",
        epilog=overview,
        formatter_class=Formatter,
    )
    add_version(parser)
    commands = parser.add_subparsers(
        title="one trial, and the results folder", metavar="COMMAND", required=True
    )
    _add_run(_command(commands, "run", "train and show one trial", RUN))
    _add_export(_command(commands, "export", "write a trial's adapter", EXPORT))
    _add_compact(_command(commands, "compact", "merge the files of a results folder", COMPACT))
    _add_watch(_command(commands, "watch", "show how a study elsewhere is doing", WATCH))
    _add_doctor(_command(commands, "doctor", "check a machine or a cluster", DOCTOR))
    _add_completion(_command(commands, "completion", "print shell completion", COMPLETION))
    for name in studies:  # without help, so that they are completed but not listed again
        commands.add_parser(name, add_help=False)
    return parser


def _command(commands: Any, name: str, title: str, description: str) -> Parser:
    command: Parser = commands.add_parser(
        name, help=title, description=examples(description), formatter_class=Formatter
    )
    return command


def _add_run(command: Parser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        _check_trial(parsed)
        from aa_ray.commands import trial

        return trial.perform(parsed, parsed.save)

    options.add_trial(command)
    command.add_argument("--save", metavar="DIR", help="also write its adapter, as export does")
    command.add_argument(
        "--retry-failed", action="store_true", help="run it again if it has failed"
    )
    command.set_defaults(work=work)


def _check_trial(parsed: argparse.Namespace) -> None:
    """Refuse wrong options and an unavailable backbone, before torch is imported.

    Raises:
        UsageError: an option is wrong, or the backbone is not available.
    """
    from aa_ray.commands.from_options import study_of_one

    study_of_one(parsed)


def _add_export(command: Parser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        _check_trial(parsed)
        from aa_ray.commands import trial

        return trial.perform(parsed, parsed.output, parsed.push)

    options.add_trial(command)
    command.add_argument("--output", metavar="DIR", required=True, help="folder for the adapter")
    command.add_argument(
        "--push",
        metavar="REPOSITORY",
        help="also upload it to this repository on the hub, with your token (from hf auth login "
        "or HF_TOKEN); a missing repository is created as a public one",
    )
    command.set_defaults(work=work, retry_failed=False)


def _add_compact(command: argparse.ArgumentParser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        from aa_ray.store.rows import Store

        store = Store(parsed.results)
        if store.folder.local and not Path(store.uri).is_dir():
            raise UsageError(f"--results {parsed.results}: no such folder; nothing to compact")
        moved = store.compact()
        print(f"{moved:,} trials merged into {store.uri}/compacted")
        return 0

    options.add_results(command)
    add_debug(command)
    command.set_defaults(work=work)


def _add_watch(command: argparse.ArgumentParser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        from aa_ray.commands import watch

        return watch.watch(parsed.results, parsed.seconds, parsed.once)

    options.add_results(command)
    command.add_argument(
        "--seconds",
        type=values.number("--seconds", float, 1),
        default=5.0,
        metavar="S",
        help="update every S seconds (default: 5)",
    )
    command.add_argument("--once", action="store_true", help="look once")
    add_debug(command)
    command.set_defaults(work=work)


def _add_doctor(command: argparse.ArgumentParser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        from aa_ray.commands import doctor

        backbone, data = parsed.backbone or "minilm", parsed.data or "embedded"
        return doctor.report(parsed.address, parsed.results, backbone, data, parsed.json)

    options.add_results(command)
    options.add_address(command)
    command.add_argument(
        "--backbone", help="backbone whose availability to check (default: minilm)"
    )
    command.add_argument("--data", help="data whose availability to check (default: embedded)")
    command.add_argument("--json", action="store_true", help="print JSON")
    add_debug(command)
    command.set_defaults(work=work)


def _add_completion(command: argparse.ArgumentParser) -> None:
    def work(parsed: argparse.Namespace) -> int:
        import argcomplete

        print(argcomplete.shellcode(["aa-ray"], shell=parsed.shell))  # nosec B604
        return 0

    command.add_argument("shell", choices=SHELLS, help="bash, zsh or fish")
    add_debug(command)
    command.set_defaults(work=work)
