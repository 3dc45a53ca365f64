"""``aa-ray watch``: the progress of the trials in a results folder, wherever they run."""

import time
from collections import Counter
from datetime import datetime, timezone

import pyarrow as pa
from rich.console import Console
from rich.live import Live

from aa_ray.errors import UsageError, one_line
from aa_ray.store.rows import Store
from aa_ray.store.running import RunningTrial, running_trials
from aa_ray.study.forecast import duration
from aa_ray.sweep import live
from aa_ray.sweep.live import Snapshot

# An older checkpoint most likely belongs to a trial that is no longer running.
STALE_SECONDS = 900.0
COLUMNS = ("trial_id", "status", "method", "task", "regime", "seed", "error", "finished_at")


def watch(results: str, seconds: float, once: bool) -> int:
    """Show the folder every ``seconds`` until Ctrl-C, or once.

    Returns:
        The exit status.

    Raises:
        UsageError: the folder has neither rows nor checkpoints.
        StorageError: it cannot be read.
    """
    store = Store(results)
    console = Console(highlight=False)
    snapshot = take(store)
    if not snapshot.done and not snapshot.running:
        raise UsageError(
            f"--results {store.uri}: no rows and no running trials; start a study there"
        )
    if once or not live.is_live(console):
        console.print(live.render(snapshot, min(console.width, live.WIDEST)))
        return 0
    with Live(console=console, auto_refresh=False) as view:
        while True:
            width = min(console.width, live.WIDEST)
            view.update(live.render(snapshot, width), refresh=True)
            time.sleep(seconds)
            snapshot = take(store)
    return 0


def take(store: Store) -> Snapshot:
    """The current state of the folder."""
    rows = _trials(store.read(COLUMNS))
    finished = rows.keys()
    unfinished = [r for r in running_trials(store.folder) if r.trial.id not in finished]
    running = [trial for trial in unfinished if not _stale(trial)]
    failed = [
        f"{row['task']} {row['regime']} {row['method']} seed {row['seed']}: "
        f"{one_line(row['error'])}"
        for row in rows.values()
        if row["status"] == "failed"
    ]
    counts = Counter(row["status"] for row in rows.values())
    parts = [f"{counts['finished']:,} trials finished", _last(rows)]
    parts += [f"{counts['failed']:,} failed"] * bool(counts["failed"])
    parts.append(f"{len(running)} running")
    interrupted = len(unfinished) - len(running)
    parts += [f"{interrupted} interrupted"] * bool(interrupted)
    headline = f"{store.uri}\n" + ", ".join(part for part in parts if part)
    return Snapshot(headline, done=len(rows), running=running, failed=failed)


def _trials(table: pa.Table) -> dict[str, dict[str, object]]:
    """Trial id -> one of its rows; AdapterDrop has one per inference depth."""
    return {row["trial_id"]: row for row in table.to_pylist()}


def _stale(running: RunningTrial) -> bool:
    return running.age is not None and running.age > STALE_SECONDS


def _last(rows: dict[str, dict[str, object]]) -> str:
    """The time since the last trial finished, in words; empty without one."""
    times = [
        row["finished_at"] for row in rows.values() if isinstance(row["finished_at"], datetime)
    ]
    if not times:
        return ""
    latest = max(time if time.tzinfo else time.replace(tzinfo=timezone.utc) for time in times)
    ago = (datetime.now(timezone.utc) - latest).total_seconds()
    return f"the last {duration(max(0.0, ago))} ago"
