"""How long do commands take before they do anything, now and at an earlier commit?

Measures CPU seconds of whole processes: user and system, child processes included. That is what a
user waits for on an idle machine, and other load affects it less than wall time. Both sides take
turns in one Python environment, each in its own checkout. The earlier checkout exists only for the
measurement.

    python -m benchmarks.start --before 42958bf > benchmarks/start.md
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

from aa_ray.store import provenance

TOP = Path(__file__).resolve().parents[1]
ROWS = TOP / "reproduction" / "2026-11-cls" / "minilm"

# The study of docs/results.md, from committed rows; ``--set pooling=cls`` is what there was before.
FINISHED = (
    f"--data rows --results {ROWS} --tasks cola sst2 mrpc stsb rte --regimes 100 500 "
    "--seeds 42 92 111 --precision bf16"
)


class Command(NamedTuple):
    """A command, as the page shows it and as each side runs it. None: that side does not have it.

    Spaces separate arguments. ``studies/`` means that side's checkout.
    """

    shown: str
    before: str | None
    after: str


COMMANDS = (
    Command("`python -c pass`", "-c pass", "-c pass"),
    Command("`import aa_ray`", "-c import#aa_ray", "-c import#aa_ray"),
    Command("`table2.py --help`", "studies/table2.py --help", "studies/table2.py --help"),
    Command("`python -m aa_ray run --help`", "-m aa_ray run --help", "-m aa_ray run --help"),
    Command("`table2.py --tasks colla`", "studies/table2.py --tasks colla",
            "studies/table2.py --tasks colla"),
    Command("`table2.py --version`", None, "studies/table2.py --version"),
    Command("`table2.py --no-run`, finished", f"studies/table2.py --no-run {FINISHED}",
            f"studies/table2.py --no-run {FINISHED} --set pooling=cls"),
    Command("`claims.py`, finished", f"studies/claims.py {FINISHED}",
            f"studies/claims.py {FINISHED} --set pooling=cls"),
)  # fmt: skip


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check out the commit into a folder that is removed afterwards."""
    git = ["git", "-C", str(TOP), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkout")
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), commit], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def cpu_seconds(top: Path, arguments: str, cwd: str) -> float:
    """Return user and system time of Python with these arguments and of its child processes."""
    words = [word.replace("#", " ").replace("studies/", f"{top}/studies/")
             for word in arguments.split()]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(top)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    expected = 2 if "colla" in arguments else 0
    if process.returncode != expected:
        raise SystemExit(f"{arguments}: exit status {process.returncode}, expected {expected}")
    return usage.ru_utime + usage.ru_stime


def measure(before: Path, repeats: int) -> dict[str, list[list[float]]]:
    """Return command -> seconds before and after. The first round compiles and is dropped."""
    seconds: dict[str, list[list[float]]] = {command.shown: [[], []] for command in COMMANDS}
    with tempfile.TemporaryDirectory() as cwd:
        for repeat in range(repeats + 1):
            for command in COMMANDS:
                sides = ((before, command.before), (TOP, command.after))
                for taken, (top, arguments) in zip(seconds[command.shown], sides, strict=True):
                    if arguments is None:
                        continue
                    one = cpu_seconds(top, arguments, cwd)
                    if repeat > 0:
                        taken.append(one)
    return seconds


def processor() -> str:
    """Return the CPU's model name on Linux."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"


def shown(seconds: list[float]) -> str:
    """Format median and range."""
    if not seconds:
        return "–"
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", required=True, help="the earlier commit")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    commit, dirty = provenance.commit()
    state = " (changed)" if dirty else ""
    with checkout(options.before) as before:
        seconds = measure(before, options.repeats)
    print("# Starting a command\n")
    print(f"    python -m benchmarks.start --before {options.before}\n")
    print(f"Commit {commit}{state}, {date.today()}, {processor()},")
    print(f"Python {sys.version.split()[0]}. CPU seconds (user and system, with child processes),")
    print(f"medians and ranges of {options.repeats} alternating runs.\n")
    print(f"| command | commit {options.before} | now |\n|---|---:|---:|")
    for command in COMMANDS:
        print(f"| {command.shown} | {' | '.join(map(shown, seconds[command.shown]))} |")
    where = ROWS.relative_to(TOP)
    print(
        f"\n*Finished*: the study of docs/results/2026-11-cls, from the committed rows in {where}."
    )


if __name__ == "__main__":
    main()
