"""cluster/slurm.sh, with stand-ins for Slurm and Ray that record their calls."""

import os
import signal
import subprocess
import time
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "cluster" / "slurm.sh"

COMMANDS = {
    "scontrol": """
        if [ "$1" = show ]; then echo node-1; echo node-2; echo node-3; fi""",
    # Runs one step on one machine; like Slurm's, it forwards signals and ends with its command.
    "srun": """
        while [ "${1#--}" != "$1" ]; do
            case $1 in --nodelist=*) NODE=${1#*=};; esac; shift
        done
        export NODE
        trap 'stop=yes; kill $child 2>/dev/null' TERM
        "$@" & child=$!
        [ -z "$stop" ] || kill $child
        wait $child || { status=$?; wait $child; exit $status; }""",
    "hostname": "echo 10.0.0.1",
    "ray": """
        [ -z "$RAY_FAILS" ] || exit 1
        [ "$1" = health-check ] || exec sleep 60""",
    "python": """
        while [ "$1" = - ]; do  # waits for the three machines
            [ "$(grep -c '^ray on node-.: start' "$LOG")" = 3 ] && exit 0
            sleep 0.05
        done
        [ -n "$STUDY_TAKES" ] || exit "${STUDY_STATUS:-0}"
        trap 'kill $!; echo "study terminated" >> "$LOG"; exit 143' TERM
        sleep "$STUDY_TAKES" & touch "$LOG.running"; wait $!""",
}


class Job:
    """A job on three machines."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.log = folder / "log"
        for name, script in COMMANDS.items():
            said = f'echo "{name} on ${{NODE:-batch}}: $*" >> "$LOG"\n'
            (folder / name).write_text(f"#!/bin/bash\n{said}{script}\n")
            (folder / name).chmod(0o755)
        environment = os.environ | variables | {
            "PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(self.log),
            "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node-[1-3]", "SLURM_CPUS_PER_TASK": "8",
            "SLURM_SUBMIT_DIR": str(SCRIPT.parent.parent),
        }  # fmt: skip
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), "--preset", "paper"],
            env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self) -> tuple[int, str]:
        """Return status and messages; all processes of the job must have ended too."""
        said = self.process.communicate(timeout=30)[1]
        for _ in range(100):  # the last process may still be ending
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return self.process.returncode, said
            time.sleep(0.05)
        raise AssertionError("processes are left")

    def calls(self, start: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]


def test_ray_on_every_machine_and_the_study_on_the_first(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.end() == (0, "")
    (head,) = [line for line in job.calls("ray on node-1: start") if "--head" in line]
    assert "--node-ip-address=10.0.0.1 --port=20077" in head and "--num-cpus=8" in head
    for node in ("node-2", "node-3"):
        (joined,) = job.calls(f"ray on {node}: start")
        assert "--address=10.0.0.1:20077" in joined and "--head" not in joined
    (study,) = [line for line in job.calls("python on node-1") if "studies" in line]
    assert study.endswith("studies/table2.py --address 10.0.0.1:20077 --preset paper")
    assert job.calls("scontrol on batch: requeue") == []


def test_the_jobs_status_is_the_studys(tmp_path: Path) -> None:
    assert Job(tmp_path, STUDY_STATUS="1").end() == (1, "")


def test_a_ray_that_does_not_start_ends_the_job(tmp_path: Path) -> None:
    job = Job(tmp_path, RAY_FAILS="1")
    status, said = job.end()
    assert status == 1 and "Ray did not start on node-1" in said
    assert not [line for line in job.calls("python") if "studies" in line]


def test_the_end_of_its_time_interrupts_the_study_and_queues_the_job_again(tmp_path: Path) -> None:
    job = Job(tmp_path, STUDY_TAKES="50")
    while not Path(f"{job.log}.running").exists():
        assert job.process.poll() is None
        time.sleep(0.05)
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 143
    assert job.calls("study terminated") and job.calls("scontrol on batch: requeue 77")
