"""What a training set of MNLI's size costs: time to tokenise it, and memory in each process.

The task's available training data is repeated up to the official number of rows. Each measurement
runs in its own process with MiniLM loaded. Memory is what the examples add to that process.

    python -m benchmarks.full_data --data DIR > benchmarks/full_data.md     (about five minutes)
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from aa_ray.core import backbones, model
from aa_ray.data import batches, cache, tasks
from aa_ray.data.glue import Source, split
from aa_ray.store import provenance
from aa_ray.training import unpadded
from aa_ray.training.inputs import Inputs
from aa_ray.trial import Trial
from benchmarks import machine

BATCHES = 500

# Of the page's table, in megabytes.
COLUMNS = ("resident", "own", "fair", "trained", "peak")

# What is measured, by the name that a process is started with.
WAYS = {
    "lists": "lists of Python's numbers, as the tokenizer gives them",
    "memory": "arrays in memory (no cache folder)",
    "build": "file, made by this process",
    "open": "file, found",
    "beside": "file, found, while another process has it open",
}


def copied(folder: str, task: str, rows: int, target: str) -> None:
    """Make a data folder whose training set repeats the available rows up to this number."""
    source = Path(folder, task)
    Path(target, task).mkdir(parents=True)
    test = f"{tasks.get(task).test_split}.parquet"
    pq.write_table(pq.read_table(source / test), Path(target, task, test))
    train = pq.read_table(source / "train.parquet")
    whole = pa.concat_tables([train] * -(-rows // len(train))).slice(0, rows)
    pq.write_table(whole, Path(target, task, "train.parquet"))


def memory() -> dict[str, float]:
    """Return megabytes of this process: resident, private, and its share of shared pages."""
    machine.give_back()
    text = Path("/proc/self/smaps_rollup").read_text()
    found = {name: int(kb) / 1000 for name, kb in re.findall(r"^(\w+): +(\d+) kB", text, re.M)}
    peak = re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
    own = found["Private_Clean"] + found["Private_Dirty"]
    return {"resident": found["Rss"], "own": own, "fair": found["Pss"],
            "peak": int(peak[1]) / 1000 if peak else 0.0}  # fmt: skip


class Way:
    """What one process does."""

    def __init__(self, options: argparse.Namespace) -> None:
        backbone = backbones.find("minilm")
        self.source = Source(options.data)
        self.encoder = model.load(backbone.path)
        self.inputs = Inputs(self.source, backbone, self._fail)
        self.trial = Trial(
            task=options.task, regime="full", seed=42, backbone=backbone.identity,
            data=self.source.identity(options.task), layers=(0,), activation="relu",
            switched=False, inference_depths=None, learning_rate=1e-3,
            rational_learning_rate=0.01, switch_learning_rate=0.05,
        )  # fmt: skip
        # What every process has, whatever it trains on.
        self.inputs.tokeniser._tokenizer(["a text"])
        tasks.get(options.task).scores(np.zeros(2, int), np.zeros((2, 3)))

    def _fail(self, text: str) -> None:
        raise SystemExit(text)

    def lists(self) -> Any:
        """Examples as the tokenizer returns them."""
        task = tasks.get(self.trial.task)
        splits = split(self.source.load(task.name, keep=False), "full", 42)
        found = []
        for rows in splits:
            table = rows.taken()
            texts = [table[column].to_pylist() for column in task.texts]
            encoded = self.inputs.tokeniser._tokenizer(*texts, truncation=True, max_length=128)
            found.append((encoded["input_ids"], encoded["token_type_ids"]))
        return found

    def examples(self) -> Any:
        """Examples as a worker holds them."""
        return self.inputs.examples([self.trial], self.inputs.tokeniser, self.encoder)

    def measure(self, work: Callable[[], Any]) -> dict[str, Any]:
        before = memory()
        started, cpu = time.perf_counter(), time.process_time()
        made = work()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        after = memory()
        measured = {name: after[name] - before[name] for name in ("resident", "own", "fair")}
        measured |= {"peak": after["peak"] - before["resident"], "seconds": seconds, "cpu": cpu}
        if work == self.examples:
            measured["batches"] = self._batches(made[0][42].train)
            measured["trained"] = memory()["resident"] - before["resident"]
        return measured

    def _batches(self, train: batches.Examples) -> float:
        """Return milliseconds of CPU time per training batch."""
        cpu = time.process_time()
        for _, indices in zip(
            range(BATCHES), batches.shuffled(len(train), 32, 42, 1), strict=False
        ):
            unpadded.pack([train], [indices], torch.device("cpu"))
        return 1000 * (time.process_time() - cpu) / BATCHES

    def facts(self) -> Any:
        """Load, split, chance level and fingerprint."""
        return self.inputs.facts([self.trial])


def run_way(options: argparse.Namespace) -> None:
    """Measure in this process, print the result, and wait to be ended."""
    torch.set_num_threads(1)
    way = Way(options)
    facts = way.measure(way.facts) if options.way != "lists" else None
    work = way.lists if options.way == "lists" else way.examples
    print(json.dumps({"facts": facts, "examples": way.measure(work)}), flush=True)
    sys.stdin.read()


@contextmanager
def started(way: str, folder: str, kept: str, task: str) -> Iterator[dict[str, Any]]:
    """Start a process, which stays alive after it has measured."""
    command = [sys.executable, "-m", "benchmarks.full_data", "--data", folder, "--task", task,
               "--way", way]  # fmt: skip
    environment = os.environ | {
        cache.VARIABLE: "" if way == "memory" else kept, "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{way} failed")
        yield json.loads(line)
        process.stdin.close()


def report(options: argparse.Namespace) -> None:
    """Measure and print the page."""
    commit, dirty = provenance.commit()
    task = tasks.get(options.task)
    rows = options.rows or task.train_rows
    print("# Full data: a training set in every process\n")
    print(
        f"    python -m benchmarks.full_data {' '.join(sys.argv[1:])}\n".replace(
            options.data, "DIR"
        )
    )
    print(f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {machine.features()}.")
    print(f"{task.title}, {rows:,} rows, copied from the available data; three quarters train, the")
    print("rest is the development set. Megabytes are what examples add to a process with MiniLM")
    print(
        "loaded: *resident* counts mapped pages in full, *own* excludes them, *fair* divides them"
    )
    print(
        f"among the processes that map them. *Trained* is resident after {BATCHES} batches of 32."
    )
    print("One thread, CPU seconds.\n")
    columns = ["s", *(f"{name}, MB" for name in COLUMNS), "a batch, ms"]
    print(f"| examples as | {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        data, kept = str(Path(folder, "data")), str(Path(folder, "cache"))
        copied(options.data, task.name, rows, data)
        facts: dict[str, float] = {}
        for way, title in WAYS.items():
            if way == "beside":
                with (
                    started("open", data, kept, task.name),
                    started(way, data, kept, task.name) as found,
                ):
                    print(_row(title, found["examples"]), flush=True)
            else:
                with started(way, data, kept, task.name) as found:
                    print(_row(title, found["examples"]), flush=True)
            facts = found["facts"] or facts
        sizes = [path.stat().st_size for path in Path(kept).glob("*.arrow")]
    print(
        f"\nThe file{'s take' if len(sizes) > 1 else ' takes'} {sum(sizes) / 1e6:.0f} MB of disk."
    )
    print(
        f"To load and split the texts, and to fingerprint every row, takes {facts['cpu']:.1f} s of"
    )
    print(
        f"CPU time, and at most {facts['peak']:.0f} MB, of which {facts['resident']:.0f} MB stay."
    )


def _row(title: str, found: dict[str, float]) -> str:
    cells = [f"{found['cpu']:.1f}"]
    cells += [f"{found[name]:.0f}" if name in found else "" for name in COLUMNS]
    cells.append(f"{found['batches']:.2f}" if "batches" in found else "")
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder with the task's Parquet files")
    parser.add_argument("--task", default="mnli")
    parser.add_argument("--rows", type=int, help="training rows (default: as in GLUE)")
    parser.add_argument("--way", help=argparse.SUPPRESS)  # of one process
    options = parser.parse_args()
    (run_way if options.way else report)(options)


if __name__ == "__main__":
    main()
