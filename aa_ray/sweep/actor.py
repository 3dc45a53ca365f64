"""The actor in which Ray Tune runs trials.

It has to start quickly. Tune gives a waiting trial the next actor that becomes free, and ends the
actor that is just being started for it. If starting took longer than a trial, slots would stay
empty forever. So an actor starts without torch and transformers and imports them with its first
job. For this reason the module imports aa_ray only inside functions, and its classes are pickled by
value.
"""

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ray import cloudpickle, tune

if TYPE_CHECKING:
    from collections.abc import Callable

    from aa_ray.store.rows import Store
    from aa_ray.sweep.messages import Job, Report
    from aa_ray.training.worker import Worker

cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Fraction of its share of a GPU that torch may use; CUDA itself needs memory in each process.
OWN_SHARE = 0.97


def prepare_device(gpus: float) -> None:
    """Set which devices torch sees, and how it allocates memory, before it is imported.

    Ray shows a process only the GPUs assigned to it, but all of them if none is assigned.
    """
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        # Steps differ in their number of tokens, which would fragment the memory.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


class TrialActor(tune.Trainable):
    """Runs one job per Tune trial and keeps its worker, with the backbone, for the next job.

    A job is one trial, or several that train side by side.
    """

    _folder = ""  # Tune's folder for the current job

    def setup(self, config: dict[str, Any]) -> None:
        self._store: Store | None = None
        self._worker: Worker | None = None
        self._first_remarks: list[str] = []  # remarks about the process
        self._config = config
        self._folder = self._trial_folder()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        with suppress(OSError):  # Tune makes a folder per job and would keep them all
            os.rmdir(self._folder)
        self._folder = self._trial_folder()
        return True

    def _trial_folder(self) -> str:
        """Tune's folder for the current job; empty if Tune has not started the actor."""
        return str(getattr(self, "_logdir", ""))

    def step(self) -> dict[str, Any]:
        """Run the job; returns its ``Report`` as Tune's result."""
        from aa_ray.errors import DeviceError, StorageError, SweepError, UsageError
        from aa_ray.store.rows import Store
        from aa_ray.store.storage import Folder
        from aa_ray.sweep.messages import Job, Report

        setting = json.loads(self._config["setting"])
        prepare_device(setting["gpus"])
        self._tell = self.make_teller()
        if self._tell is not None:
            self._tell(False)
        try:
            if self._store is None:
                self._store = Store(Folder(setting["results"], answered=True))
            report = self._do(Job.from_json(self._config["job"]), setting, self._store)
        except DeviceError:
            raise  # Tune ends this process and gives the job to another
        except (StorageError, SweepError, UsageError) as error:
            report = Report(stop=str(error))
        return report.to_result()

    def _do(self, job: "Job", setting: dict[str, Any], store: "Store") -> "Report":
        """Run the trials without rows, write their rows, and report those of all wanted trials."""
        from aa_ray.study.queue import queue_row
        from aa_ray.sweep.messages import Report
        from aa_ray.training import checkpoints, device, halving, watchdog

        rows = {trial_id: store.rows(trial_id) for trial_id in job.methods}
        missing = {i for i, existing in rows.items() if job.must_run(i, existing)}
        remarks: list[str] = []
        if missing:
            if self._worker is None:
                self._worker = self.make_worker(setting, store)
            watchdog.arm(setting["stall_seconds"], self._tell)
            try:
                methods = [job.methods.get(trial.id, "") for trial in job.trials]
                for of_trial in self._worker.run(job.trials, methods):
                    trial_id = of_trial[0]["trial_id"]
                    if trial_id in missing:
                        rows[trial_id] = store.write(of_trial)
            finally:
                watchdog.disarm()
            device.trim()
            remarks = [*self._first_remarks, *self._worker.remarks]
            self._first_remarks = []
        for group in (job.trials, *halving.begun(job.trials, store.folder)):
            store.folder.delete(checkpoints.path(group))
        return Report([queue_row(of_trial) for of_trial in rows.values()], remarks)

    def make_teller(self) -> "Callable[[bool], None] | None":
        """A function that tells the driver that the job is alive, and whether it is training."""
        from aa_ray.sweep.pulse import Teller

        return Teller(self._config["id"]) if "id" in self._config else None

    def make_worker(self, setting: dict[str, Any], store: "Store") -> "Worker":
        """The process's ``Worker``, with its copy of the backbone."""
        from aa_ray.core.logs import quiet_libraries

        quiet_libraries()  # before they are imported
        import torch

        from aa_ray.core.backbones import Backbone
        from aa_ray.data.glue import Source
        from aa_ray.study import plugins
        from aa_ray.training.worker import Worker

        torch.set_num_threads(setting["threads"])
        plugins.restore(setting["own"])
        device = self._device(setting["gpus"])
        return Worker(
            Backbone(**setting["backbone"]),
            Source(setting["source"]),
            tuple(setting["commit"]),
            store.folder,
            setting["engine"],
            device,
        )

    def _device(self, gpus: float) -> str:
        """The process's device, with its memory limited to the process's share."""
        import torch

        from aa_ray.core.rational import triton_fault
        from aa_ray.store.provenance import host

        if not gpus:
            return "cpu"
        if not torch.cuda.is_available():
            self._first_remarks.append(
                f"{host()}: torch sees no GPU, so trials run on its CPU (python -m aa_ray doctor "
                "says why)"
            )
            return "cpu"
        if gpus < 1:
            torch.cuda.set_per_process_memory_fraction(gpus * OWN_SHARE)
        fault = triton_fault()
        if fault is not None:
            self._first_remarks.append(
                f"{host()}: Triton does not work ({fault}), so torch's slower operations compute "
                "rationals"
            )
        return "cuda"

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Never called by Tune; the worker writes its own checkpoints to the results folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing, since the worker finds the trial's checkpoint in the results folder."""
