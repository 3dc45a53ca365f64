#!/usr/bin/env bash
# The study on machines that Slurm allocates: Ray on all of them for as long as the job lasts.
#
#   sbatch cluster/slurm.sh --preset paper --results /shared/results
#
# The arguments are those of studies/table2.py (STUDY=studies/table3.py sbatch ... runs another).
# Submit it in the checkout's top folder, on a file system that all machines share, with the results
# there too, and with the Python environment active. Compute nodes often have no internet: fetch
# backbone and data first, with HF_HOME on the shared file system (see cluster/hub_cache.py), and
# export HF_HUB_OFFLINE=1.
#
# Two minutes before its time is over, or when it is preempted, the job is interrupted and requeued;
# it resumes when it starts again. If a machine fails, the epochs since its trials' last checkpoints
# are lost. If it is the first machine, the job ends; submit it again to continue.
#
#SBATCH --job-name=aa-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

# Other people's jobs are on this network, so Ray requires a token. The port follows from the job's
# number, so that two jobs may share a machine.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE RAY_AUTH_TOKEN
port=$((20000 + SLURM_JOB_ID % 10000))
temporary=${RAY_TMPDIR:-/tmp}/ray-$SLURM_JOB_ID  # short, since it holds Ray's sockets

mapfile -t machines < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${machines[0]}
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

steps=()
driver=
requeue=no
terminate() {
    requeue=yes
    [[ -z $driver ]] || kill -TERM "$driver" 2>/dev/null || true
}
finish() {
    local status=$?
    trap - EXIT
    trap '' TERM
    ((${#steps[@]} == 0)) || kill "${steps[@]}" 2>/dev/null || true
    wait || true
    if [[ $requeue == yes ]]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$status"
}
trap finish EXIT
trap terminate TERM

# One step per machine, since a step ends as a whole.
start() {
    local machine=$1
    shift
    srun --nodes=1 --ntasks=1 --nodelist="$machine" --overlap \
        ray start "$@" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --block &
    steps+=($!)
}

start "$head" --head --node-ip-address="$head_ip" --port="$port" --temp-dir="$temporary" \
    --include-dashboard=false --min-worker-port=0 --max-worker-port=0
for attempt in {1..60}; do
    if ray health-check --address "$head_ip:$port" 2>/dev/null; then
        break
    fi
    if ! kill -0 "${steps[0]}" 2>/dev/null || ((attempt == 60)); then
        echo "slurm.sh: Ray did not start on $head; its messages are above" >&2
        exit 1
    fi
    sleep 2
done
for machine in "${machines[@]:1}"; do
    start "$machine" --address="$head_ip:$port" --min-worker-port=0 --max-worker-port=0
done

# The study decides at its start how many trials run at once, so wait for the machines first.
python - "$head_ip:$port" "${#machines[@]}" <<'EOP' || true
import sys, time, ray
ray.init(sys.argv[1], logging_level="ERROR")
for _ in range(60):
    if len(ray.nodes()) >= int(sys.argv[2]):
        raise SystemExit
    time.sleep(2)
print(f"slurm.sh: only {len(ray.nodes())} of {sys.argv[2]} machines have joined", file=sys.stderr)
EOP

[[ $requeue == no ]] || exit 143
srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    python "${STUDY:-studies/table2.py}" --address "$head_ip:$port" "$@" &
driver=$!
[[ $requeue == no ]] || terminate
status=0
wait "$driver" || status=$?
if [[ $requeue == yes ]]; then
    wait "$driver" || status=$?  # a signal ends the first wait; this one ends with the driver
fi
exit "$status"
