"""The live view of a sweep in a terminal: a bar, a line per running trial, and failed trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aa_ray.store.running import RunningTrial

# Maximum number of lines for running and for failed trials: a terminal has 24 lines.
MOST_RUNNING = 12
MOST_FAILED = 4
# A curve shows this many epochs, the last ones.
CURVE = 20
NUMBERS = ("epoch", "loss", "dev")
GAP = 2  # columns of space between the fields of a line
# Maximum width of the view in columns.
WIDEST = 110
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Snapshot:
    """The state of a sweep at one moment.

    Attributes:
        headline: the progress of the sweep, in one line.
        done, total: number of finished or failed trials, and of all; no bar without a total.
        running: the running trials, from their checkpoints.
        titles: trial id -> title; by default made from the trial's fields.
        failed: failed trials as text, latest last.
    """

    headline: str
    done: int = 0
    total: int | None = None
    running: Sequence[RunningTrial] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    failed: Sequence[str] = ()


def render(snapshot: Snapshot, width: int) -> RenderableType:
    """The snapshot for rich, at most ``width`` columns wide."""
    parts: list[RenderableType] = []
    if snapshot.total:
        bar = Table.grid()  # a grid ends the line; a bar alone does not
        bar.add_row(ProgressBar(snapshot.total, snapshot.done, width=min(width, 60)))
        parts.append(bar)
    parts.append(Text(snapshot.headline))
    if snapshot.running:
        parts.append(_trials(snapshot, width))
    more = len(snapshot.running) - MOST_RUNNING
    if more > 0:
        parts.append(Text(f"and {more} more", style="dim"))
    for line in snapshot.failed[-MOST_FAILED:]:
        parts.append(Text(f"failed: {line}", style="red", overflow="ellipsis", no_wrap=True))
    if len(snapshot.failed) > MOST_FAILED:
        parts.append(Text(f"{len(snapshot.failed)} failed in all", style="red"))
    return Group(*parts)


def _trials(snapshot: Snapshot, width: int) -> Table:
    """A line per running trial. Where space is short, titles and curves give way to numbers."""
    named = [
        (snapshot.titles.get(running.trial.id, title(running)), running)
        for running in snapshot.running[:MOST_RUNNING]
    ]
    named.sort(key=lambda pair: pair[0])  # so that lines keep their place
    lines = [(name, *_numbers(running), running) for name, running in named]
    columns = zip(NUMBERS, *(line[1:4] for line in lines), strict=True)
    rest = max(0, width - GAP - sum(GAP + max(map(len, column)) for column in columns))
    of_curve = min(CURVE, rest // 3)
    of_title = min(max(len(name) for name, _ in named), max(5, rest - of_curve))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    table.add_column("trial", overflow="ellipsis", no_wrap=True, width=of_title)
    for number in NUMBERS:
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, epoch, loss, score, running in lines:
        shown = curve(running.scores)[-of_curve:] if of_curve else ""
        table.add_row(name, epoch, loss, score, shown, style="red" if running.error else "")
    return table


def _numbers(running: RunningTrial) -> tuple[str, str, str]:
    """The entries for ``NUMBERS``."""
    return (
        f"{running.epoch}/{running.trial.epochs}",
        f"{running.losses[-1]:.3f}" if running.losses else "",
        f"{100 * running.scores[-1]:.1f}" if running.scores else "",
    )


def title(running: RunningTrial) -> str:
    """The title of a trial if no study gives its method's name."""
    trial = running.trial
    parts = [trial.task, trial.regime, f"seed {trial.seed}", trial.activation.partition(":")[0]]
    return " ".join([*parts, *["switched"] * trial.switched, f"{len(trial.layers)} layers"])


def curve(values: Sequence[float]) -> str:
    """The last values as a sparkline, scaled from their minimum to their maximum."""
    shown = list(values)[-CURVE:]
    low, high = min(shown, default=0.0), max(shown, default=0.0)
    if high == low:
        return BARS[0] * len(shown)
    return "".join(BARS[round((v - low) / (high - low) * (len(BARS) - 1))] for v in shown)


def is_live(console: Console) -> bool:
    """Whether lines can be rewritten on this console."""
    return console.is_terminal and not console.is_dumb_terminal
