#!/usr/bin/env bash
# Trains on a Cloud TPU slice that a queued resource provides, and asks for a new slice when that
# one is taken away (spot). Every worker runs the same command; JAX finds the others itself.
#
#   PROJECT=my-project ZONE=us-central2-b WORKDIR=gs://my-bucket/runs/expert DATA=gs://my-bucket/data \
#       scripts/launch_cloud_tpu.sh --config=sync_expert:pod
#
# Variables: NAME (lipsync), ACCELERATOR (v5litepod-32), RUNTIME (v2-alpha-tpuv5-lite), SPOT (1),
# PACKAGE (what pip installs), ATTEMPTS (10). DRY_RUN=1 prints the commands and runs none.
set -euo pipefail

: "${PROJECT:?name the Google Cloud project}" "${ZONE:?name the zone}"
: "${WORKDIR:?name a folder of a bucket, gs://BUCKET/run}" "${DATA:?name the data, gs://BUCKET/data}"
NAME=${NAME:-lipsync}
ACCELERATOR=${ACCELERATOR:-v5litepod-32}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
SPOT=${SPOT:-1}
PACKAGE=${PACKAGE:-lipsync_jax[tpu,buckets]}
ATTEMPTS=${ATTEMPTS:-10}

run() {
  if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}

tpu() { run gcloud compute tpus "$@" --project="$PROJECT" --zone="$ZONE"; }

state() {
  gcloud compute tpus queued-resources describe "$NAME" --project="$PROJECT" --zone="$ZONE" \
    --format='value(state.state)' 2>/dev/null || echo ABSENT
}

create() {
  local options=(--node-id="$NAME" --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME")
  if [[ $SPOT == 1 ]]; then options+=(--spot); fi
  tpu queued-resources create "$NAME" "${options[@]}"
}

wait_until_active() {
  if [[ -n ${DRY_RUN:-} ]]; then return; fi
  local now
  while now=$(state); [[ $now != ACTIVE ]]; do
    case $now in
      FAILED | SUSPENDED | ABSENT) return 1 ;;
    esac
    echo "queued resource $NAME: $now"
    sleep 30
  done
}

on_all_workers() {
  tpu tpu-vm ssh "$NAME" --worker=all --command="$1"
}

printf -v flags '%q ' --workdir="$WORKDIR" --config.data.dir="$DATA" "$@"
for ((attempt = 1; attempt <= ATTEMPTS; attempt++)); do
  echo "attempt $attempt of $ATTEMPTS" >&2
  create
  if wait_until_active &&
    on_all_workers "pip install --quiet '$PACKAGE' -f https://storage.googleapis.com/jax-releases/libtpu_releases.html" &&
    on_all_workers "lipsync train --distributed --max_restarts=3 $flags"; then
    tpu queued-resources delete "$NAME" --force --quiet
    exit 0
  fi
  # A slice that was taken away can't be used again: its queued resource makes room for a new one.
  tpu queued-resources delete "$NAME" --force --quiet || true
  if [[ -n ${DRY_RUN:-} ]]; then exit 0; fi
done
echo "the run did not end in $ATTEMPTS attempts; the same command continues it" >&2
exit 1
