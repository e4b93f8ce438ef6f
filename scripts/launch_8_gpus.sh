#!/usr/bin/env bash
# Trains on one machine with several GPUs: one process uses all of them, and is restarted when it is
# killed.
#
#   scripts/launch_8_gpus.sh --config=wav2lip --workdir=runs/wav2lip --config.data.dir=data \
#       --config.frozen.expert.checkpoint=runs/expert
#
# Variables: GPUS (all; e.g. 0,1,2,3), RESTARTS (5), LOG (a file that gets a copy of the output).
# DRY_RUN=1 prints the command.
set -euo pipefail

if (($# == 0)); then
  echo "usage: $0 --config=... --workdir=... --config.data.dir=..." >&2
  exit 2
fi
if [[ -n ${GPUS:-} ]]; then export CUDA_VISIBLE_DEVICES="$GPUS"; fi
export XLA_FLAGS="${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
command=(lipsync train --max_restarts="${RESTARTS:-5}" "$@")
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  printf '\n'
elif [[ -n ${LOG:-} ]]; then
  "${command[@]}" 2>&1 | tee -a "$LOG"
else
  exec "${command[@]}"
fi
