"""Does a study that is killed again and again end like an undisturbed one?

Runs a study undisturbed. Then runs it again and kills its driver, its workers or all of Ray at
random moments, restarting the same command each time. Compares the rows and counts what was lost,
repeated or changed. With --nodes, the study runs on a local cluster of several Ray nodes, and from
time to time one disappears and another joins.

    python benchmarks/resilience.py --kills 25 > benchmarks/resilience.md
    python benchmarks/resilience.py --kills 10 --nodes 2 >> benchmarks/resilience.md

    python benchmarks/resilience.py --kills 1000 --log kills.jsonl >> benchmarks/resilience.md

A study gets at most --per-study kills, then another one begins. With --log, every study is added to
the file, and the same command continues from there. Arguments after -- go to the study (default:
the demo preset).
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from aa_ray.store import provenance
from aa_ray.store.rows import read

TABLE2 = Path(__file__).parent.parent / "studies" / "table2.py"

# Marks in their environment the processes that this one has started, however indirectly.
MARK = "AA_RAY_TORTURE"

# Whom to end and how; "node" needs a cluster of its own.
KILLS = {
    "driver SIGKILL": signal.SIGKILL,
    "driver SIGTERM": signal.SIGTERM,
    "driver SIGINT": signal.SIGINT,
    "worker SIGKILL": signal.SIGKILL,
    "raylet SIGKILL": signal.SIGKILL,
    "gcs SIGKILL": signal.SIGKILL,
}
# How long a driver may take to notice that its Ray has died.
NOTICE_SECONDS = 180
CLUSTER_KILLS = ["node lost", "worker SIGKILL", "driver SIGKILL"]
# Columns that say when, where and (if several methods share the trial) as which of them a trial
# ran, not what came out.
INCIDENTAL = {"train_seconds", "test_seconds", "peak_memory_bytes", "started_at", "finished_at",
              "host", "hosts", "method", "resumed_after", "commit", "dirty"}  # fmt: skip


@dataclass
class Report:
    """What was killed, and with what effect."""

    kills: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    starts: int = 0
    trials: int = 0
    resumed: int = 0
    repeated: int = 0
    lost: int = 0
    duplicates: int = 0
    differing: int = 0
    seconds: float = 0.0

    def markdown(self) -> str:
        """Return one row of the table in resilience.md."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        counts = (self.studies, self.starts, self.trials, self.resumed, self.repeated, self.lost,
                  self.duplicates, self.differing)  # fmt: skip
        return (
            f"| {self.kills.total():,} ({kinds}) | {' | '.join(map(str, counts))} "
            f"| {self.seconds / 60:.1f} |"
        )

    def add(self, other: "Report") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @classmethod
    def read(cls, log: Path | None) -> "Report":
        """Return the sum of the studies in a log."""
        total = cls()
        if log is not None and log.exists():
            for line in log.read_text().splitlines():
                values = json.loads(line)
                total.add(cls(**values | {"kills": Counter(values["kills"])}))
        return total


def start(
    arguments: list[str], folder: Path, name: str, environment: dict[str, str]
) -> subprocess.Popen[str]:
    """Start the study's command as a user would."""
    command = [sys.executable, str(TABLE2), *arguments, "--results", str(folder / name)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def processes(mark: str) -> dict[int, str]:
    """Return id -> command of every process with the mark in its environment, children included."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, or is not ours
                if f"{MARK}={mark}".encode() in (path / "environ").read_bytes():
                    command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(path.name)] = command
    return found


def victims(kind: str, driver: int, running: dict[int, str], draw: random.Random) -> list[int]:
    """Return the processes to end for this kind of kill, or none if there are none yet."""
    if kind.startswith("driver"):
        return [driver]
    if kind.startswith("worker"):
        workers = [pid for pid, command in running.items() if "ResourceTrainable" in command]
        return [draw.choice(workers)] if workers else []
    program = {"raylet": "/raylet/raylet ", "gcs": "/gcs_server "}[kind.split()[0]]
    return [pid for pid, command in running.items() if program in command]


def torture(
    arguments: list[str],
    kills: int,
    kinds: list[str],
    draw: random.Random,
    folder: Path,
    longest: float,
    cluster: Any = None,
    before: Counter[str] | None = None,
) -> Report:
    """Kill the study this many times, let it finish, and compare it with an undisturbed run.

    Args:
        arguments: of the study.
        kinds: of kills; those used least are drawn first.
        draw: decides what to kill and when, at most ``longest`` seconds after the last kill.
        folder: holds the results of both runs. An existing undisturbed run is used again.
        cluster: the ``Nodes`` to run on; with None, every start has its own Ray.
        before: kills of earlier studies, which count for which kinds were used least.
    """
    report = Report(studies=1)
    used = Counter(before or {})
    if not (folder / "undisturbed").exists():
        undisturbed = start(arguments, folder, "undisturbed", dict(os.environ))
        said = undisturbed.communicate()[1]
        if undisturbed.returncode:
            raise SystemExit(f"the undisturbed run failed: {said}")
    began = time.monotonic()
    finished: dict[str, Any] = {}
    while True:
        mark = uuid.uuid4().hex
        environment = os.environ | {MARK: mark}
        address = ["--address", cluster.address] if cluster else []
        running = start([*arguments, *address], folder, "killed", environment)
        report.starts += 1
        alive = _disturb(running, mark, kills, kinds, draw, longest, cluster, report, used)
        said = running.communicate()[1]
        while any(command.startswith("ray::") for command in processes(mark).values()):
            time.sleep(0.2)  # they end with their driver
        _count_repeated(folder / "killed", finished, report)
        if alive:
            break
    if running.returncode:
        raise SystemExit(f"the last run failed: {said}")
    report.seconds = time.monotonic() - began
    compare(folder, report)
    return report


def _disturb(
    running: subprocess.Popen[str],
    mark: str,
    kills: int,
    kinds: list[str],
    draw: random.Random,
    longest: float,
    cluster: Any,
    report: Report,
    used: Counter[str],
) -> bool:
    """Kill from time to time until the driver has ended. Return whether it ended by itself."""
    while report.kills.total() < kills:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(draw.uniform(0, longest))
            return True
        kind = min(kinds, key=lambda kind: (used[kind], draw.random()))
        if kind == "node lost":
            cluster.lose_one(draw)
            report.kills[kind] += 1
            used[kind] += 1
            continue
        found = victims(kind, running.pid, processes(mark) | cluster_workers(cluster), draw)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, KILLS[kind])
        report.kills[kind] += bool(found)
        used[kind] += bool(found)
        if found and not kind.startswith("worker"):
            running.wait(NOTICE_SECONDS)  # without Ray, the driver ends by itself
            return False
    running.wait()
    return True


def cluster_workers(cluster: Any) -> dict[int, str]:
    """Return the cluster's processes, which are not children of the driver."""
    return processes(cluster.mark) if cluster else {}


def _count_repeated(folder: Path, finished: dict[str, Any], report: Report) -> None:
    """Count finished trials whose row changed."""
    for row in read(str(folder)).to_pylist():
        before = finished.setdefault(row["trial_id"], row["finished_at"])
        report.repeated += before != row["finished_at"]


def compare(folder: Path, report: Report) -> None:
    """Count rows that the killed study lost, holds twice, or holds with other values."""
    tables = [read(str(folder / name)).to_pylist() for name in ("undisturbed", "killed")]
    expected, found = (
        {(row["trial_id"], tuple(row["adapter_layers"] or ())): row for row in rows}
        for rows in tables
    )
    report.trials = len({trial_id for trial_id, _ in expected})
    report.resumed = len({row["trial_id"] for row in tables[1] if row["resumed_after"]})
    report.lost = len(expected.keys() - found.keys())
    report.duplicates = len(tables[1]) - len(found)
    report.differing = sum(
        any(row[c] != found[key][c] for c in row.keys() - INCIDENTAL)
        for key, row in expected.items()
        if key in found
    ) + len(found.keys() - expected.keys())


@dataclass
class Nodes:
    """A Ray cluster of several nodes on this machine's loopback address.

    The head runs no trials. The other nodes have one core each.
    """

    cluster: Any
    nodes: list[Any]
    mark: str

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def lose_one(self, draw: random.Random) -> None:
        """Kill one node without notice and start a new one."""
        lost = draw.choice(self.nodes)
        self.cluster.remove_node(lost, allow_graceful=False)
        self.nodes.remove(lost)
        self.nodes.append(self.cluster.add_node(num_cpus=1))


@contextlib.contextmanager
def nodes(count: int) -> Iterator[Nodes]:
    """Run a cluster with this many worker nodes inside the context."""
    mark = uuid.uuid4().hex
    os.environ |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
        MARK: mark,
    }
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield Nodes(cluster, [cluster.add_node(num_cpus=1) for _ in range(count)], mark)
    finally:
        cluster.shutdown()


def torture_studies(options: argparse.Namespace, cluster: Any) -> Report:
    """Torture one study after the other, until there were enough kills."""
    kinds = CLUSTER_KILLS if cluster else list(KILLS)
    total = Report.read(options.log)
    with tempfile.TemporaryDirectory() as folder:
        while (left := options.kills - total.kills.total()) > 0:
            draw = random.Random(f"{options.seed} {total.studies}")
            report = torture(
                options.study, min(left, options.per_study), kinds, draw, Path(folder),
                options.longest, cluster, total.kills,
            )  # fmt: skip
            shutil.rmtree(Path(folder) / "killed")
            total.add(report)
            if options.log is not None:
                with options.log.open("a") as log:
                    log.write(json.dumps(vars(report)) + "\n")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=25, help="default: 25")
    parser.add_argument("--per-study", type=int, default=25, help="most kills of one study")
    parser.add_argument("--log", type=Path, help="file with a line for each study")
    parser.add_argument("--nodes", type=int, default=0, help="default: 0, no cluster")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--longest", type=float, default=30, help="seconds between two kills")
    parser.add_argument("study", nargs="*", help="the study's own arguments, after --")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(nodes(options.nodes)) if options.nodes else None
        report = torture_studies(options, cluster)
    commit, dirty = provenance.commit()
    print(f"    python benchmarks/resilience.py {' '.join(sys.argv[1:])}\n")
    print(
        f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {os.cpu_count()} cores.\n"
    )
    print("| kills | studies | starts | trials | continued | repeated | lost | twice | differing "
          "| minutes |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    print(report.markdown())


if __name__ == "__main__":
    main()
