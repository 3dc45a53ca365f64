"""A cluster that starts without workers grows for a study and shrinks afterwards.

The workers are Ray's fake ones: processes of this machine, started and ended by Ray's autoscaler.
Opt-in: pytest -m cluster tests/test_autoscaling.py
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aa_ray.store.rows import read

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TABLE2 = Path(__file__).parent.parent / "studies" / "table2.py"
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # Ray's provider expects it
ADDRESS = "127.0.0.1:6391"
WORKERS = 2
IDLE_SECONDS = 6

CONFIG = {
    "cluster_name": "aa-ray-fake",
    "max_workers": WORKERS,
    "idle_timeout_minutes": IDLE_SECONDS / 60,
    "provider": {
        # "fake_multinode" would need a file of defaults that Ray's wheel lacks.
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": ADDRESS,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": HEAD_ID,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 2, "GPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": WORKERS,
        },
        "cpu": {"resources": {"CPU": 8}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    **{
        name: []
        for name in (
            "cluster_synced_files", "initialization_commands", "setup_commands",
            "head_setup_commands", "worker_setup_commands", "head_start_ray_commands",
            "worker_start_ray_commands", "rsync_exclude", "rsync_filter",
        )
    },
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "upscaling_speed": 1.0,
}  # fmt: skip


class Cluster:
    """A head alone, whose autoscaler may start workers; its processes have ``environment``."""

    def __init__(self, home: Path) -> None:
        self._mark = uuid.uuid4().hex
        # ray up leaves the file here, and a study reads from it how far the cluster may grow.
        config = home / "ray_bootstrap_config.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        self.environment = os.environ | {
            "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_enable_autoscaler_v2": "1",
            "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "AA_RAY_MARK": self._mark,
        }  # fmt: skip
        self.address = ADDRESS
        subprocess.run(
            [str(Path(sys.executable).parent / "ray"), "start", "--head",
             "--node-ip-address=127.0.0.1", "--port=6391", "--num-cpus=0",
             "--include-dashboard=false", f"--autoscaling-config={config}"],
            env=self.environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def gpus(self) -> int:
        """Return the number of GPUs of the nodes that are alive."""
        code = (
            "import sys, ray; ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False);"
            "gpus = [n['Resources'].get('GPU', 0) for n in ray.nodes() if n['Alive']];"
            "print('GPUs:', int(sum(gpus)))"
        )
        environment = {
            name: value
            for name, value in self.environment.items()
            if name not in ("RAY_OVERRIDE_NODE_ID_FOR_TESTING", "RAY_CLOUD_INSTANCE_ID")
        }
        ran = subprocess.run([sys.executable, "-c", code, self.address], env=environment,
                             check=True, capture_output=True, text=True)  # fmt: skip
        (line,) = [line for line in ran.stdout.splitlines() if line.startswith("GPUs:")]
        return int(line.split()[1])

    def end(self) -> None:
        """End all processes of this cluster and no others."""
        for path in Path("/proc").iterdir():
            try:
                if path.name.isdigit() and self._mark.encode() in (path / "environ").read_bytes():
                    os.kill(int(path.name), 9)
            except OSError:
                continue  # the process has just ended, or is not ours


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    try:
        yield found
    finally:
        found.end()


def test_from_zero_to_two_workers_and_back(
    cluster: Cluster, tiny_folder: Path, tmp_path: Path
) -> None:
    assert cluster.gpus() == 0
    study = subprocess.Popen(
        [sys.executable, str(TABLE2), "--backbone", str(tiny_folder), "--tasks", "qqp", "--seeds",
         "42", "92", "111", "--epochs", "20", "--gpus-per-trial", "0.5", "--address",
         cluster.address, "--results", "kept"],
        env=cluster.environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    most, began = 0, time.monotonic()
    try:
        while study.poll() is None and time.monotonic() - began < 240:
            most = max(most, cluster.gpus())
            time.sleep(1)
    finally:
        study.kill()
        said = study.communicate()[0]
    assert study.returncode == 0, said
    assert most == WORKERS  # all useful workers, and none without a GPU
    assert len(read(str(tmp_path / "kept"))) >= 10

    began = time.monotonic()
    while cluster.gpus():
        assert time.monotonic() - began < 60 + IDLE_SECONDS, "workers are left"
        time.sleep(1)
