"""One trial by hand: what it is, its learning curve, its result; and its adapter.

Its row goes into the results folder like any study's, so that a study finds it finished. Rows hold
no weights. Where the adapter of a finished trial is wanted, the trial trains again, together with
those beside which it trained, and its scores are compared with the row's.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aa_ray.commands import card, export, from_options, options
from aa_ray.commands.curve import Curve, describe, result, show
from aa_ray.commands.export import Taker, Trained
from aa_ray.commands.push import push
from aa_ray.commands.study import note_untrained_pooler
from aa_ray.data import glue
from aa_ray.errors import FAILED_WORK, SweepError, UsageError
from aa_ray.store import provenance
from aa_ray.store.leases import Leases
from aa_ray.store.rows import Row, Store
from aa_ray.study.grid import Cell, Study
from aa_ray.study.resolve import RESOLVE_COLUMNS, Resolver
from aa_ray.training import checkpoints
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial

RUN = """Train one trial; show its settings, learning curve, layers and scores.

Its row goes into --results, where studies find it; a trial that has a row is
shown from it. Without --backbone and --data: minilm, and generated sentences.
Needs no Ray.

    python -m aa_ray run --task sst2 --method aa
    python -m aa_ray run --task rte --method aa --data DIR --save out
"""
EXPORT = """Write a trial's adapter for AdapterHub, with head, card and coefficients.

It is trained for that: again if it has a row, and then compared with the row.
Where the folder holds the trial's adapter already, nothing is trained.

    python -m aa_ray export --task sst2 --method aa --output out
    python -m aa_ray export --task sst2 --method aa --output out --push me/sst2
"""


def add_commands(commands: Any) -> None:
    """Add ``run`` and ``export`` to the subparsers."""
    add = commands.add_parser
    form = options.Formatter
    run = add("run", help="train and show one trial", description=RUN, formatter_class=form)
    options.add_trial(run)
    run.add_argument("--save", metavar="DIR", help="also write its adapter, as export does")
    run.add_argument("--retry-failed", action="store_true", help="run it again if it has failed")
    run.set_defaults(work=lambda given: perform(given, given.save))

    out = add("export", help="write a trial's adapter", description=EXPORT, formatter_class=form)
    options.add_trial(out)
    out.add_argument("--output", metavar="DIR", required=True, help="folder for the adapter")
    out.add_argument(
        "--push",
        metavar="REPOSITORY",
        help="also upload it to that repository of the hub, with your token (of hf auth login, or "
        "HF_TOKEN); it is made if it is not there, and public unless you have made it private",
    )
    out.set_defaults(
        work=lambda given: perform(given, given.output, given.push), retry_failed=False
    )


def perform(given: argparse.Namespace, save: str | None, repository: str | None = None) -> int:
    """Show the trial, run it if need be, and save and upload its adapter if that is asked for."""
    study = from_options.study_of_one(given)
    store = Store(given.results)
    [cell] = study.grid()
    trial = _resolved(study, cell, store.read(RESOLVE_COLUMNS).to_pylist())
    found = store.rows(trial.id)
    if found and found[0]["status"] == "failed" and given.retry_failed:
        found = []
    target = _Target(Path(save), _depth(given, trial, study)) if save is not None else None
    if target is not None:
        export.check_expressible(trial)
        export.check_folder(target.folder)
    splits = glue.split(study.source.load(cell.task), cell.regime, cell.seed)
    _set_threads(given, found)
    note_untrained_pooler(study)
    print(describe(study, trial, splits))
    taker = Taker(trial, target.depth) if target and not target.holds(trial) else None
    if not found:
        found = fresh = _first(study, cell, trial, store, taker)
    elif taker is not None and found[0]["status"] == "finished":
        fresh = _again(study, trial, found, store, taker)
    else:
        fresh = found
        show(found, study.backbone.num_layers)
    print(f"row: {trial.id} in {store.uri}")
    if found[0]["status"] == "failed":
        print(f"failed: {cell}: {found[0]['error']}", file=sys.stderr)
        print("run again with --retry-failed to try it anew", file=sys.stderr)
        return FAILED_WORK
    if target is not None:
        if taker is not None and taker.taken is not None:
            at = trial.depths(study.backbone.num_layers).index(target.depth)
            _save(study, taker.taken, found[at], fresh[at], target.folder)
        print(f"adapter: {target.folder}" + ("" if taker else " (was there before)"))
        if repository is not None:
            readme = target.folder / "README.md"
            readme.write_text(readme.read_text("utf-8").replace(card.PLACE, repository), "utf-8")
            print(f"uploaded: {push(target.folder, repository)}")
    return 0


class _Target(NamedTuple):
    """Where an adapter is to go, and at which inference depth."""

    folder: Path
    depth: int

    def holds(self, trial: Trial) -> bool:
        """Whether this very adapter is there already."""
        notes = export.about(self.folder) or {}
        return (notes.get("trial_id"), notes.get("depth")) == (trial.id, self.depth)


def _resolved(study: Study, cell: Cell, rows: list[Row]) -> Trial:
    """The cell's trial; the layers of a focused one come from the rows.

    Raises:
        UsageError: the row that decides its layers is missing.
    """
    resolver = Resolver(study, rows)
    if cell in resolver.trials:
        return resolver.trials[cell]
    for need in study.needs(cell):
        row = resolver.row(need)
        if row is None or row["status"] == "failed":
            state = "has no row" if row is None else "has failed"
            raise UsageError(
                f"{cell.method} takes its layers from {need}, which {state} in --results; first "
                f"run --method {need.method} --task {need.task} --regime {need.regime} --seed "
                f"{need.seed} with the other options as here"
            )
    raise AssertionError(f"{cell} waits for nothing")


def _depth(given: argparse.Namespace, trial: Trial, study: Study) -> int:
    """The inference depth of the adapter to be saved."""
    allowed = trial.depths(study.backbone.num_layers)
    asked = from_options.number(given, "depth", int, 0)
    if asked is None and len(allowed) == 1:
        return allowed[0]
    if asked not in allowed:
        numbers = " or ".join(map(str, allowed))
        if asked is None:
            raise UsageError(f"this trial is tested at several depths; give --depth {numbers}")
        raise UsageError(f"--depth {asked}: this trial is tested at depth {numbers}")
    return int(asked)


def _set_threads(given: argparse.Namespace, found: list[Row]) -> None:
    """As many as asked for; else as the row was made with, since they change the rounding."""
    made = re.fullmatch(r"cpu, (\d+) threads", (found[0]["device"] or "") if found else "")
    wanted = from_options.number(given, "cpus_per_trial", int, 1)
    torch.set_num_threads(wanted or (int(made[1]) if made else 1))


def _first(study: Study, cell: Cell, trial: Trial, store: Store, taker: Taker | None) -> list[Row]:
    """Run the trial for its rows, as a study would; goes on where it was interrupted."""
    store.folder.check_writable()
    with Leases(store.folder) as leases:
        if not leases.acquire(trial.id):
            raise SweepError(f"{cell} is being run by another process; wait for its row")
        worker = Worker(study.backbone, study.source, provenance.commit(), store.folder)
        [rows] = worker.run([trial], [cell.method], Curve(trial, taker))
        store.write(rows)
        store.folder.delete(checkpoints.path([trial]))
    for remark in worker.remarks:
        print(remark, file=sys.stderr)
    if rows[0]["status"] == "finished":
        print(result(rows))
    return rows


def _again(study: Study, trial: Trial, found: list[Row], store: Store, taker: Taker) -> list[Row]:
    """Train the finished trial again for its weights, beside the same others; its new rows."""
    ids = found[0]["array"] or []
    beside = [row for row in map(store.row, ids) if row is not None]
    if not ids or len(beside) < len(ids):
        ids, beside = [trial.id], found[:1]
    trials = [Trial.from_json(row["settings"]) for row in beside]
    others = f", as one of the {len(ids)} of its array" if len(ids) > 1 else ""
    print(f"has a row; trains again for its weights{others}")
    worker = Worker(study.backbone, study.source, provenance.commit())
    every = worker.run(trials, [row["method"] for row in beside], Curve(trial, taker))
    fresh = every[ids.index(trial.id)]
    if fresh[0]["status"] == "failed":
        raise SweepError(f"{trial.task}: trained again it failed: {fresh[0]['error']}")
    print(result(fresh))
    return fresh


def _save(study: Study, taken: Trained, row: Row, fresh: Row, folder: Path) -> None:
    """Write the adapter, having compared the scores of its weights with the row's."""
    remark = ""
    metric, was, now = row["metric_name"], row["test_metric"], fresh["test_metric"]
    if was != now:
        remark = (
            f"The trial's row, made on {row['device']}, has test {metric} {was:.4f}. These weights "
            f"were trained again on {fresh['device']} and have {now:.4f}."
        )
        print(f"note: {remark}", file=sys.stderr)
    elif fresh is not row:
        print(f"test {metric} is that of the row")
    # The name of its architecture in this command, since several may share a training.
    fresh = fresh | {"method": study.methods[0]}
    text = card.text(taken, fresh, study.backbone, remark)
    official = study.source.load(row["task"])

    def check(folder: Path) -> None:
        count = export.check(folder, taken, study.backbone, official)
        print(f"loaded with AdapterHub, it predicts as the trial does on {count} test examples")

    export.write(folder, taken, fresh, study.backbone, text, check)
