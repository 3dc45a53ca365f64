"""The options shared by studies and commands.

A new option needs an entry here, which checks its value (``values``), and a field of the dataclass
that it sets, ``Resources`` or ``Study``. ``from_options`` builds these from the parsed options.
"""

from collections.abc import Sequence
from typing import Any

from aa_ray.commands import values
from aa_ray.commands.parser import (
    Formatter,
    Parser,
    add_debug,
    add_version,
    completes,
    examples,
)
from aa_ray.commands.presets import PRESETS
from aa_ray.core import architectures, engines
from aa_ray.core.deviations import SETTINGS
from aa_ray.data import regimes, tasks
from aa_ray.report.tables import FORMATS
from aa_ray.study import tuning
from aa_ray.sweep.trackers import TRACKERS, TRACKING
from aa_ray.trial import PRECISIONS

# The default of --fuse, which cannot be typed: auto on GPUs, one trial at a time on CPUs.
BY_DEVICE = 0

# The options in --help; --help-all lists the rest too.
MOST_USED = (
    "--preset", "--backbone", "--data", "--tasks", "--regimes", "--seeds", "--results",
    "--gpus-per-trial", "--plan", "--format", "--output",
)  # fmt: skip


def study_parser(description: str, methods: Sequence[str]) -> Parser:
    """The parser of a study with these methods.

    ``study_from`` checks names that a file of ``--own`` may define.
    """
    parser = Parser(description=examples(description), formatter_class=Formatter)
    add_version(parser)
    _add_study(parser.add_argument_group("what to run"), methods)
    _add_resources(parser.add_argument_group("where and how"))
    _add_output(parser.add_argument_group("what to print"))
    parser.shorten_help(MOST_USED)
    return parser


def rows_parser(description: str, methods: Sequence[str]) -> Parser:
    """The parser of a study that only reads existing rows."""
    parser = Parser(description=examples(description), formatter_class=Formatter)
    add_version(parser)
    _add_study(parser.add_argument_group("which rows"), methods)
    add_results(parser)
    add_debug(parser)
    parser.shorten_help(MOST_USED)
    return parser


def add_trial(parser: Parser) -> None:
    """Add the options of a command about one trial; ``study_of_one`` reads them."""
    add = parser.add_argument
    completes(add("--task", required=True, help=", ".join(tasks.TASKS)), tasks.TASKS)
    completes(
        add("--method", required=True, help=", ".join(architectures.METHODS)),
        architectures.METHODS,
    )
    add(
        "--regime",
        type=values.regime,
        default="100",
        help="number of annotated examples, or full (default: 100)",
    )
    first = architectures.FIRST_SEED
    add("--seed", type=values.seed("--seed"), default=first,
        help=f"a non-negative integer (default: {first})")  # fmt: skip
    _add_sources(parser)
    _add_settings(parser)
    add_results(parser)
    _add_engine(parser)
    add(
        "--cpus-per-trial",
        type=values.number("--cpus-per-trial", int, 1, 10_000),
        metavar="N",
        help="CPU threads (default: the number used for its finished row, else 1)",
    )
    add(
        "--depth",
        type=values.number("--depth", int, 0, 1000),
        metavar="N",
        help="for adapter-drop, when saving its adapter: keep the adapters of the last N layers",
    )
    add_debug(parser)
    parser.shorten_help((*MOST_USED, "--task", "--method", "--regime", "--seed", "--save"))


def add_format(group: Any) -> None:
    """Add the options for the format of a table."""
    option = group.add_argument(
        "--format",
        type=values.one_of("format", FORMATS),
        default="text",
        help=f"format of the table: {', '.join(FORMATS)} (default: text)",
    )
    completes(option, FORMATS)
    group.add_argument(
        "--all-columns",
        action="store_true",
        help="also print columns without a number",
    )


def add_margin(group: Any) -> None:
    """Add the option for the margin of verdicts."""
    from aa_ray.report import verdicts  # imports numpy, which other commands' --help do not need

    group.add_argument(
        "--margin",
        type=values.above_zero("--margin", "points of score (x 100)"),
        default=verdicts.MARGIN,
        metavar="POINTS",
        help="margin in points of score (x 100): within it two methods are on par, beyond it one "
        f"is considerably better (default: {verdicts.MARGIN:g})",
    )


def add_results(group: Any) -> None:
    group.add_argument(
        "--results",
        type=values.place("--results"),
        default="results",
        metavar="URI",
        help="folder for rows, or a URI such as s3://bucket/folder (default: results)",
    )


def add_address(group: Any) -> None:
    group.add_argument(
        "--address",
        type=values.address,
        help="address of a running Ray cluster, host:port or auto (default: this machine)",
    )


def _add_engine(group: Any) -> None:
    group.add_argument(
        "--engine",
        type=values.one_of("engine", engines.ENGINES),
        default=engines.AUTO,
        help="engine: fused (fastest; adaptable adapters on encoders with BERT's layers), "
        "adapterhub (AdapterHub's own forward pass; any encoder, any adapter), or auto (default; "
        "fused if possible)",
    )


def _add_study(group: Any, methods: Sequence[str]) -> None:
    add = group.add_argument
    preset = add(
        "--preset",
        type=values.one_of("preset", PRESETS),
        default="demo",
        help="demo (default; minutes on two cores), low-data, full or paper; the options below "
        "override parts of it",
    )
    completes(preset, PRESETS)
    _add_sources(group)
    names = add("--tasks", nargs="+", metavar="TASK", help=", ".join(tasks.TASKS))
    completes(names, tasks.TASKS)
    add(
        "--regimes",
        type=values.regime,
        nargs="+",
        metavar="REGIME",
        help="numbers of annotated examples, or full (see --full-seeds); the paper's are "
        f"{' '.join(regime.name for regime in regimes.PAPER)}",
    )
    add(
        "--seeds",
        type=values.seeds,
        nargs="+",
        metavar="SEED",
        help="non-negative integers, or ranges such as 100-119; the paper's are "
        f"{' '.join(map(str, architectures.SEEDS))}",
    )
    add(
        "--full-seeds",
        type=values.number("--full-seeds", int, 1),
        default=1,
        metavar="N",
        help="with full data: use the first N of the seeds (default: 1, as in the paper)",
    )
    others = tuple(architectures.OTHERS)
    completes(
        add(
            "--methods",
            nargs="+",
            metavar="METHOD",
            help=f"{', '.join(methods)} (default: these); for comparison: {', '.join(others)}",
        ),
        (*methods, *others),
    )
    _add_settings(group)


def _add_sources(group: Any) -> None:
    add = group.add_argument
    add(
        "--backbone",
        type=values.place("--backbone"),
        help="frozen encoder: minilm, a model on the hub such as bert-large-uncased or "
        "roberta-base, or a checkpoint folder",
    )
    add(
        "--data",
        type=values.place("--data"),
        help="embedded (generated sentences), hub (nyu-mll/glue), or a folder with "
        "<task>/train.parquet and <task>/validation.parquet; rows: the source recorded in "
        "--results, to view results without the data",
    )
    add(
        "--own",
        type=values.place("--own"),
        nargs="+",
        metavar="FILE",
        help="Python files that define custom tasks, architectures and activations; see "
        "docs/own.md",
    )


def _add_settings(group: Any) -> None:
    add = group.add_argument
    add(
        "--rates",
        type=values.rates,
        default="backbone",
        help="learning rates: backbone (default; tuned for the backbone on development sets), "
        "released (the released code's), tuned (the best of --tuning-budget settings on "
        "development sets, for each method, task and regime), or a number for adapters and "
        "classifier, with the released rates for the rest",
    )
    add(
        "--tuning-budget",
        type=values.number("--tuning-budget", int, 2, 1000),
        default=tuning.BUDGET,
        metavar="N",
        help=f"with --rates tuned: settings per method (default: {tuning.BUDGET}), each run with "
        f"{len(tuning.SEEDS)} separate seeds",
    )
    add(
        "--last-n",
        type=values.number("--last-n", int, 0, 1000),
        metavar="N",
        help="number of layers N for methods that use the last N (default: as many as aa selected "
        "for QQP with 100 examples)",
    )
    add(
        "--set",
        type=values.setting,
        nargs="+",
        metavar="NAME=VALUE",
        help="where paper and released code differ: "
        + "; ".join(f"{s.name}={'|'.join(s.choices)}" for s in SETTINGS.values())
        + " (the first is the default)",
    )
    add(
        "--epochs",
        type=values.number("--epochs", int, 1, 100_000),
        default=20,
        metavar="N",
        help="passes over the training set (default: 20, as in the paper)",
    )
    precision = add(
        "--precision",
        type=values.one_of("precision", PRECISIONS),
        default="fp32",
        help="precision of the frozen backbone: fp32 (default), bf16 (about twice as fast on "
        "hardware that supports it), or tf32 (NVIDIA GPUs only); another precision makes another "
        "trial",
    )
    completes(precision, PRECISIONS)


def _add_resources(group: Any) -> None:
    add = group.add_argument
    add_results(group)
    _add_engine(group)
    add(
        "--cpus-per-trial",
        type=values.number("--cpus-per-trial", int, 1, 10_000),
        default=1,
        metavar="N",
        help="CPU cores and threads of one trial (default: 1)",
    )
    add(
        "--gpus-per-trial",
        type=values.number_or_auto("--gpus-per-trial", float, 0, 1000),
        metavar="X",
        help="GPUs per trial (per group with --fuse); 0.25 puts four on each GPU, 0 runs trials on "
        "CPUs; auto (default): chosen from the backbone's size and measured trials if there are "
        "GPUs",
    )
    add(
        "--max-concurrent",
        type=values.number("--max-concurrent", int, 1),
        metavar="N",
        help="maximum number of trials at once (default: as many as fit; on the head of a cluster "
        "from ray up, as many as fit at its maximum size)",
    )
    add_address(group)
    add(
        "--fuse",
        type=values.number_or_auto("--fuse", int, 1, 10_000),
        default=BY_DEVICE,
        metavar="K",
        help="maximum number of trials that train side by side on one copy of the backbone; auto: "
        "chosen from GPU memory and the number of waiting trials (default: auto on GPUs, 1 on "
        "CPUs)",
    )
    add(
        "--stall-seconds",
        type=values.number("--stall-seconds", float, 1, 10_000_000),
        default=1800.0,
        metavar="S",
        help="restart a trial that has made no progress for S seconds, from its checkpoint "
        "(default: 1800)",
    )
    add("--retry-failed", action="store_true", help="run failed trials again")
    add(
        "--track",
        nargs="+",
        metavar="TOOL",
        help=f"also send learning curves to {', '.join(TRACKERS)} (files go to {TRACKING}/ unless "
        "the tool's environment variables say otherwise)",
    )
    add(
        "--dashboard",
        action="store_true",
        help="start Ray's dashboard on the loopback address and print its URL",
    )


def _add_output(group: Any) -> None:
    add = group.add_argument
    add_format(group)
    add(
        "--plan",
        action="store_true",
        help="show what is done, runnable and blocked, and how long the rest may take; run nothing",
    )
    add(
        "--gpus",
        type=values.number("--gpus", int, 1),
        metavar="N",
        help="with --plan: time and GPU-hours on a cluster with N GPUs, from measured trials",
    )
    add("--no-run", action="store_true", help="print the table of existing rows; run nothing")
    add_debug(group)
