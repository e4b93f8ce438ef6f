#!/usr/bin/env bash
# Trains on GKE with XPK, which makes a JobSet of one pod a host and restarts it as a whole.
#
#   CLUSTER=my-cluster WORKDIR=gs://my-bucket/runs/expert DATA=gs://my-bucket/data \
#       IMAGE=us-docker.pkg.dev/my-project/images/lipsync scripts/launch_gke.sh --config=sync_expert:pod
#
# Variables: NAME (lipsync), TPU_TYPE (v5litepod-32) or DEVICE_TYPE (e.g. h100-80gb-8), SLICES (1),
# RESTARTS (10), PRIORITY (medium), PROJECT and ZONE (those of gcloud). DRY_RUN=1 prints the command.
set -euo pipefail

: "${CLUSTER:?name the cluster}" "${IMAGE:?name an image with lipsync_jax[tpu,buckets] or [cuda,buckets]}"
: "${WORKDIR:?name a folder of a bucket, gs://BUCKET/run}" "${DATA:?name the data, gs://BUCKET/data}"
NAME=${NAME:-lipsync}
SLICES=${SLICES:-1}
RESTARTS=${RESTARTS:-10}

if [[ -n ${DEVICE_TYPE:-} ]]; then
  devices=(--device-type="$DEVICE_TYPE" --num-nodes="$SLICES")
else
  devices=(--tpu-type="${TPU_TYPE:-v5litepod-32}" --num-slices="$SLICES")
fi
printf -v flags '%q ' --workdir="$WORKDIR" --config.data.dir="$DATA" "$@"
command=(
  xpk workload create --workload="$NAME" --cluster="$CLUSTER" "${devices[@]}"
  --docker-image="$IMAGE" --max-restarts="$RESTARTS" --priority="${PRIORITY:-medium}"
  --command="lipsync train --distributed $flags"
)
if [[ -n ${PROJECT:-} ]]; then command+=(--project="$PROJECT"); fi
if [[ -n ${ZONE:-} ]]; then command+=(--zone="$ZONE"); fi
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  printf '\n'
else
  exec "${command[@]}"
fi
