"""Writes benchmarks/resilience.md.

    python -m benchmarks.torture.page > benchmarks/resilience.md

The logs beside this file were written by ``python -m benchmarks.resilience --log``.
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.torture.report import COLUMNS, Report

LOGS = Path(__file__).parent / "logs"

# The log of each place: its heading, the options that run it, and what it is.
PLACES = {
    "alone": ("One machine", "", "A study with its own Ray on one machine."),
    "nodes": ("Ray nodes", "--nodes 2", "A Ray cluster on one machine: a head without cores and "
              "two nodes with one core each. A lost node is killed, and another joins."),
    "hosts": ("Three hosts", "--hosts", "Three hosts made of Linux namespaces, with a shared "
              "results folder. A lost host loses all of its processes at once and starts again. A "
              "link is down for up to 100 seconds, while the processes on both of its ends go on."),
    "rclone": ("Object store: rclone", "--store rclone", "Results in an S3-compatible server, "
               "which is killed, or for up to a minute is slow, refuses requests (503), does not "
               "answer (deaf), or carries out a request and loses its answer (losing)."),
    "moto": ("Object store: moto", "--store moto", "The same with a simulated S3 that knows "
             "conditional writes. It keeps its objects in memory, so it is not killed."),
}  # fmt: skip

START = """# Disturbed again and again

A study runs undisturbed. Then it runs again in another results folder, and is disturbed at random
moments: processes are killed, hosts lose power or network, object stores fail. The same command
starts it again whenever its driver has ended. Finally the rows are compared column by column,
except for times, hosts, and which of several methods sharing a trial asked for it first. Metrics
must be equal bit for bit. After at most 25 faults a study may finish, and the next one begins.

*Continued*: trials that resumed from a checkpoint. *Repeated*: finished trials that ran again.
*Lost*: trials of the undisturbed run without a row. *Twice*: rows that exist twice. *Differing*:
rows whose content differs.

The study is `table2.py` with a tiny BERT on the demo's data: three seeds, 100 epochs, {trials}
trials. Several places were disturbed side by side on two cores, so the minutes overlap. Commands,
with PLACE for the options below:

    python -m benchmarks.resilience --faults 1000 --longest 8 --log LOG PLACE
    python -m benchmarks.torture.page > benchmarks/resilience.md
"""


def page(logs: Path = LOGS) -> str:
    """Return the page, with a section for each place that has a log."""
    reports = {name: Report.read(logs / f"{name}.jsonl") for name in PLACES}
    reports = {name: report for name, report in reports.items() if report.studies}
    total = Report()
    for report in reports.values():
        total.add(report)
    parts = [START.format(trials=_range(logs, reports)), _table(reports, total)]
    for name in reports:
        heading, options, text = PLACES[name]
        parts.append(_section(logs / f"{name}.jsonl", heading, options, text, reports[name]))
    return "\n".join(parts)


def _range(logs: Path, reports: dict[str, Report]) -> str:
    """How many trials a study had; AA's selection, and so their number, depends on the CPU."""
    trials = {line["trials"] for name in reports for line in _lines(logs / f"{name}.jsonl")}
    return f"{min(trials)} to {max(trials)}" if len(trials) > 1 else str(*trials)


def _table(reports: dict[str, Report], total: Report) -> str:
    head = f"| place | {' | '.join(COLUMNS)} |\n|---|{len(COLUMNS) * '---:|'}"
    named = [(PLACES[name][0], report) for name, report in reports.items()]
    return "\n".join([head, *(
        f"| {name} | {report.kills.total():,} | {' | '.join(report.counts())} |"
        for name, report in [*named, ("all", total)]
    ), ""])  # fmt: skip


def _section(log: Path, heading: str, options: str, text: str, report: Report) -> str:
    lines = _lines(log)
    commits = ", ".join(sorted({line["commit"][:7] for line in lines}))
    days = sorted({line["date"] for line in lines})
    when = " to ".join(sorted({days[0], days[-1]}))
    faults = f"Faults: {report.kinds()}. Code: {commits}; {when}."
    return "\n\n".join([f"## {heading}", f"    {options}" if options else "    (no options)",
                        *(textwrap.fill(part, 100) for part in (text, faults))]) + "\n"  # fmt: skip


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


if __name__ == "__main__":
    sys.stdout.write(page())
