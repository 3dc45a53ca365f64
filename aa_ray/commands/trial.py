"""Runs a single trial: prints its settings, learning curve and result, and saves its adapter.

Its row is saved in the results folder, where studies find it. Rows hold no weights. So to save the
adapter of a finished trial, the trial is trained again, together with the trials of its group, and
its scores are compared with the row's.
"""

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import torch

from aa_ray.commands import card, export, from_options
from aa_ray.commands.curve import Curve, describe, result, show
from aa_ray.commands.execution import check_engine, note_untrained_pooler
from aa_ray.commands.push import push
from aa_ray.commands.trained import Taker, Trained
from aa_ray.core import backbones, encoders
from aa_ray.core.engines import FUSED
from aa_ray.data import glue
from aa_ray.errors import FAILED_WORK, SweepError, UsageError, one_line
from aa_ray.store import provenance
from aa_ray.store.rows import Row, Store
from aa_ray.store.storage import Folder
from aa_ray.study.grid import Cell, Study
from aa_ray.study.resolve import RESOLVE_COLUMNS, Resolver, stand_in_text
from aa_ray.training import cpu_products
from aa_ray.training.api import run_in_store
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial


def perform(options: argparse.Namespace, save: str | None, repository: str | None = None) -> int:
    """Show the trial, run it if necessary, and save and upload its adapter on request.

    Returns:
        The exit status.
    """
    study = from_options.study_of_one(options)
    check_engine(study, options.engine)
    store = Store(options.results)
    cell = _cell(study)
    trial = _resolved(study, cell, store.read(RESOLVE_COLUMNS).to_pylist())
    rows = store.rows(trial.id)
    if rows and rows[0]["status"] == "failed" and options.retry_failed:
        rows = []
    target = _target(save, options.depth, trial, study)
    if not rows or save:
        backbones.check_available(study.backbone)
    splits = glue.split(study.source.load(cell.task), cell.regime, cell.seed)
    _set_threads(options.cpus_per_trial, rows)
    note_untrained_pooler(study)
    if not rows:
        _note_slow_precision(study)
    print(describe(study, trial, splits))
    taker = Taker(trial, target.depth) if target and not target.holds(trial) else None
    if not rows:
        worker = _worker(study, options.engine, store.folder)
        rows = trained = _first(worker, cell, trial, store, taker)
    elif taker is not None and rows[0]["status"] == "finished":
        # Use the same engine as before, since each engine's dropout draws different random numbers.
        worker = _worker(study, rows[0]["engine"] or FUSED)
        trained = _again(worker, trial, rows, store, taker)
    else:
        trained = rows
        show(rows, study.backbone.num_layers)
    print(f"row: {trial.id} in {store.uri}")
    if rows[0]["status"] == "failed":
        print(f"failed: {cell}: {one_line(rows[0]['error'])}", file=sys.stderr)
        print("run again with --retry-failed to retry it", file=sys.stderr)
        return FAILED_WORK
    if target is not None:
        if taker is not None and taker.taken is not None:
            at = trial.depths(study.backbone.num_layers).index(target.depth)
            _save(study, taker.taken, rows[at], trained[at], target.folder)
        print(f"adapter: {target.folder}" + ("" if taker else " (already there)"))
        if repository is not None:
            _upload(target.folder, repository)
    return 0


class _Target(NamedTuple):
    """The folder for an adapter, and its inference depth."""

    folder: Path
    depth: int

    def holds(self, trial: Trial) -> bool:
        """Whether the folder already holds this adapter."""
        notes = export.about(self.folder) or {}
        return (notes.get("trial_id"), notes.get("depth")) == (trial.id, self.depth)


def _target(save: str | None, depth: int | None, trial: Trial, study: Study) -> _Target | None:
    """The checked target for the trial's adapter; None if it is not to be saved."""
    if save is None:
        return None
    target = _Target(Path(save), _depth(depth, trial.depths(study.backbone.num_layers)))
    export.check_expressible(trial)
    encoders.check_loadable(study.backbone.path)
    export.check_folder(target.folder)
    return target


def _cell(study: Study) -> Cell:
    """The study's only cell.

    Raises:
        UsageError: its regime needs more examples than the task has.
    """
    for (_, regime), available in study.left_out.items():
        raise glue.too_large(regime, available)
    [cell] = study.grid()
    return cell


def _resolved(study: Study, cell: Cell, rows: list[Row]) -> Trial:
    """The cell's trial; a focused one takes its layers from the rows.

    Raises:
        UsageError: the row that decides its layers is missing.
    """
    resolver = Resolver(study, rows)
    if cell in resolver.trials:
        if note := stand_in_text(resolver.stand_ins([cell]), study.backbone.num_layers):
            print(textwrap.fill(f"note: {note}", 80))
        return resolver.trials[cell]
    for need in study.needs(cell):
        row = resolver.row(need)
        if row is None or row["status"] == "failed":
            state = "has no row" if row is None else "has failed"
            raise UsageError(
                f"{cell.method} takes its layers from {need}, which {state} in --results; first "
                f"run --method {need.method} --task {need.task} --regime {need.regime} --seed "
                f"{need.seed} with the same other options"
            )
    raise AssertionError(f"{cell} depends on nothing")


def _depth(depth: int | None, tested: tuple[int, ...]) -> int:
    """The inference depth of the adapter to save, one of those at which the trial is tested."""
    if depth is None and len(tested) == 1:
        return tested[0]
    if depth is None or depth not in tested:
        numbers = " or ".join(map(str, tested))
        if depth is None:
            raise UsageError(f"this trial is tested at several depths; give --depth {numbers}")
        raise UsageError(f"--depth {depth}: this trial is tested at depth {numbers}")
    return depth


def _set_threads(wanted: int | None, rows: list[Row]) -> None:
    """Set the number of threads; by default the row's, since their number changes the rounding."""
    made = re.fullmatch(r"cpu, (\d+) threads", (rows[0]["device"] or "") if rows else "")
    torch.set_num_threads(wanted or (int(made[1]) if made else 1))


def _note_slow_precision(study: Study) -> None:
    """Print a note if this CPU is slower in the study's precision than in float32."""
    if not torch.cuda.is_available():
        line = cpu_products.slow_precision(study.precision, study.backbone.hidden_size)
        if line is not None:
            print(f"note: {line}", file=sys.stderr)


def _worker(study: Study, engine: str, folder: Folder | None = None) -> Worker:
    return Worker(study.backbone, study.source, provenance.commit(), folder, engine)


def _first(
    worker: Worker, cell: Cell, trial: Trial, store: Store, taker: Taker | None
) -> list[Row]:
    """Run the trial for its rows, as a study would; continues from its checkpoint."""
    store.folder.check_writable()
    rows = run_in_store(worker, trial, cell.method, store, Curve(trial, taker))
    for remark in worker.remarks:
        print(remark, file=sys.stderr)
    if rows[0]["status"] == "finished":
        print(result(rows))
    return rows


def _again(worker: Worker, trial: Trial, rows: list[Row], store: Store, taker: Taker) -> list[Row]:
    """Train the finished trial again for its weights, in the same group; returns its new rows."""
    ids = rows[0]["array"] or []
    beside = [row for row in map(store.row, ids) if row is not None]
    if not ids or len(beside) < len(ids):
        ids, beside = [trial.id], rows[:1]
    trials = [Trial.from_json(row["settings"]) for row in beside]
    others = f", in its group of {len(ids)}" if len(ids) > 1 else ""
    print(f"it has a row; training again for its weights{others}")
    by_trial = worker.run(trials, [row["method"] for row in beside], Curve(trial, taker))
    trained = by_trial[ids.index(trial.id)]
    if trained[0]["status"] == "failed":
        raise SweepError(f"{trial.task}: training again failed: {one_line(trained[0]['error'])}")
    print(result(trained))
    return trained


def _save(study: Study, taken: Trained, row: Row, fresh: Row, folder: Path) -> None:
    """Write the adapter after comparing its scores with the row's."""
    remark = ""
    metric, was, now = row["metric_name"], row["test_metric"], fresh["test_metric"]
    if was != now:
        remark = (
            f"The trial's row, made on {row['device']}, has test {metric} {was:.4f}. These weights "
            f"were trained again on {fresh['device']} and have {now:.4f}."
        )
        print(f"note: {remark}", file=sys.stderr)
    elif fresh is not row:
        print(f"test {metric} equals that of the row")
    # The method named in this command, since several methods may share a training run.
    fresh = fresh | {"method": study.methods[0]}
    text = card.text(taken, fresh, study.backbone, remark)
    official = study.source.load(row["task"])

    def check(folder: Path) -> None:
        count = export.check(folder, taken, study.backbone, official)
        print(f"loaded with AdapterHub, it predicts the same as the trial on {count} test examples")

    export.write(folder, taken, fresh, study.backbone, text, check)


def _upload(folder: Path, repository: str) -> None:
    """Upload the adapter, whose card then names the repository."""
    readme = folder / "README.md"
    readme.write_text(readme.read_text("utf-8").replace(card.PLACE, repository), "utf-8")
    print(f"uploaded: {push(folder, repository)}")
