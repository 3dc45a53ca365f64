"""Removes what killed drivers and workers have left in a results folder.

These are leases, files of drivers, checkpoints, half-written files, and failures of trials that
have finished later. None of them changes a result.
"""

from contextlib import suppress

from aa_ray.errors import StorageError
from aa_ray.store.leases import PLACES, Leases
from aa_ray.store.rows import Store
from aa_ray.study.queue import TrialQueue


def over(queue: TrialQueue, store: Store) -> set[str]:
    """The trials that have rows and will not be run again."""
    return store.trial_ids() - queue.retried_ids | queue.finished_ids


def remove(queue: TrialQueue, store: Store, leases: Leases) -> None:
    """Remove everything that is known to be left over.

    Raises:
        StorageError: the results folder cannot be used.
    """
    leases.tidy(queue.finished_ids)
    store.tidy(queue.finished_ids)
    if store.folder.names("checkpoints"):
        from aa_ray.training import checkpoints  # imports torch, which a finished study can skip

        checkpoints.interrupted_groups(store.folder, over(queue, store), queue.complete)


def remove_after(queue: TrialQueue, store: Store) -> None:
    """Like ``remove``, for a study with nothing left to run. A clean folder is only read."""
    with suppress(StorageError):  # it may be read-only
        store.tidy(queue.finished_ids)
        for place in PLACES:
            store.folder.remove_stale_parts(place)
        if any(store.folder.names(place) for place in ("leases", "drivers", "checkpoints")):
            with Leases(store.folder) as leases:
                remove(queue, store, leases)
