"""Safeguards of the real code, each with a patch that removes it.

``python -m tests.simulator --mutations`` finds the first seed at which the simulator detects that
a safeguard is missing. ``test_simulator.py`` tests the seeds found in this way.
"""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any
from unittest import mock

import pyarrow as pa

from aa_ray.store import leases, rows
from aa_ray.store.leases import Leases
from aa_ray.store.local import LocalFiles
from aa_ray.store.objects import ObjectFiles
from aa_ray.store.processes import Identity
from aa_ray.store.rows import Store
from aa_ray.study.queue import TrialQueue
from aa_ray.sweep.messages import Job
from aa_ray.sweep.pulse import PulseWatch
from aa_ray.training import checkpoints
from tests.simulator.disk import Disk

Mutation = Callable[[], AbstractContextManager[Any]]


def _method(owner: Any, name: str, stand_in: Any) -> Mutation:
    return lambda: mock.patch.object(owner, name, stand_in)


def _create_in_place(self: LocalFiles, path: str, content: bytes | pa.Buffer) -> bool:
    if self.modified(path) is not None:
        return False
    self._posix.make_folder(os.path.dirname(path))
    self._posix.put(path, content)
    self._posix.sync(path)
    return True


def _write_over(self: Store, of_trial: list[Any]) -> list[Any]:
    content = rows.parquet.dump(pa.Table.from_pylist(of_trial, schema=rows.SCHEMA))
    self.folder.write(f"rows/{of_trial[0]['trial_id']}.parquet", content)
    return of_trial


def _look_and_write(self: Any, path: str, content: bytes) -> bool:
    if self.modified(path) is not None:
        return False
    self.write(path, content)
    return True


def _sync_names_only(self: Disk, path: str) -> None:
    if path in self.folders:
        _disk_sync(self, path)


def _sync_content_only(self: Disk, path: str) -> None:
    if path not in self.folders:
        _disk_sync(self, path)


_disk_sync = Disk.sync


def _release_all(self: Leases, trial_id: str) -> None:
    self._held.pop(trial_id, None)
    for lease in self._named(trial_id):
        self._folder.delete(f"leases/{lease.name}")


def _acquire_without_adopting(self: Leases, trial_id: str) -> bool:
    known = self._leases(trial_id)
    highest = max((lease.n for lease in known), default=0)
    if any(lease.n == highest and self._lives(lease) for lease in known):
        return False
    lease = self._create(trial_id, highest + 1)
    if lease is None or not self._alone(lease):
        return False
    self._held[trial_id] = lease
    return True


def _fresh_by_the_clock(self: Leases, path: str, sight: object) -> bool:
    theirs = self._folder.modified(path)
    ours = self._folder.modified(leases._driver(self._self.owner))
    return theirs is not None and ours is not None and ours - theirs < leases.DEAD_SECONDS


def _identity_unchecked(content: bytes) -> Identity | None:
    try:
        values = json.loads(content)
        return Identity(**{field.name: values[field.name] for field in fields(Identity)})
    except (ValueError, TypeError, KeyError):
        return None


MUTATIONS: dict[str, Mutation] = {
    "content is not brought to the disk": _method(Disk, "sync", _sync_names_only),
    "names are not brought to the disk": _method(Disk, "sync", _sync_content_only),
    "files are created in place": _method(LocalFiles, "create", _create_in_place),
    "stopped workers are not looked for": _method(PulseWatch, "look", lambda *_: []),
    "finished rows are written over": _method(Store, "write", _write_over),
    "files are created by looking first (disk)": _method(LocalFiles, "create", _look_and_write),
    "files are created by looking first (bucket)": _method(ObjectFiles, "create", _look_and_write),
    "an actor does not look for rows": _method(Job, "must_run", lambda *_: True),
    "a lease is taken without looking again": _method(Leases, "_alone", lambda *_: True),
    "releasing removes others' leases": _method(Leases, "release", _release_all),
    "a lease whose answer was lost is not known again": _method(
        Leases, "acquire", _acquire_without_adopting
    ),
    "drivers' files are compared by time": _method(Leases, "_changes", _fresh_by_the_clock),
    "drivers' files have no checksum": _method(
        Identity, "from_json", staticmethod(_identity_unchecked)
    ),
    "every lease counts as held": _method(Leases, "_lives", lambda *_: True),
    "checkpoints have no checksum": _method(checkpoints, "_check", lambda content: None),
    "tidying takes leases of failed trials": _method(
        TrialQueue, "finished_ids", property(lambda self: set(self._states))
    ),
    "compacted rows are not looked for": _method(Store, "_rows_compacted", lambda *_: []),
}

# Detected only after thousands of seeds, or not yet; tests/store/test_leases.py covers them.
RARE = {"releasing removes others' leases", "drivers' files have no checksum"}
