#!/usr/bin/env bash
# Trains on GPUs of a SLURM cluster: one process a node, which uses all GPUs of that node.
#
#   sbatch --nodes=4 --gpus-per-node=8 scripts/launch_slurm.sh --config=sync_expert:pod \
#       --workdir=/shared/runs/expert --config.data.dir=/shared/data
#
# Other options of sbatch (account, partition, time, memory) may stand before the script. SLURM
# sends SIGTERM two minutes before the time is over; all processes save and end, and the job is
# queued again. It is also queued again when a node fails. DRY_RUN=1 prints the command.
#SBATCH --job-name=lipsync
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=lipsync-%j.log
set -euo pipefail

if (($# == 0)); then
  echo "usage: sbatch [options of sbatch] $0 --config=... --workdir=SHARED --config.data.dir=SHARED" >&2
  exit 2
fi
# Overlaps the exchange of gradients with computation; the reasons are in docs/how-to/pods.md.
export XLA_FLAGS="${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"

command=(srun --kill-on-bad-exit=1 --label lipsync train "$@")
if ((${SLURM_JOB_NUM_NODES:-1} > 1)); then command+=(--distributed); fi
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  printf '\n'
  exit 0
fi
status=0
"${command[@]}" || status=$?
# 130: stopped by SIGTERM with a checkpoint; 75: another process was lost.
if [[ $status == 130 || $status == 75 || $status == 137 || $status == 143 ]]; then
  if ((${SLURM_RESTART_COUNT:-0} < ${RESTARTS:-20})); then
    echo "ended with status $status; queued again"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
fi
exit "$status"
