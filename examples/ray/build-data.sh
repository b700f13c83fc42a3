#!/bin/bash
# Build data on the Ray cluster that this machine is the head of (cluster.yaml).
#
# Each worker holds the model on GPUs of its own; this process alone writes the store. Run it on the
# head, in the folder that `cai init` made. The same command resumes.
set -euo pipefail

PROJECT=${PROJECT:-$HOME/project}
MODEL=${MODEL:-meta-llama/Llama-3.1-8B-Instruct}
WORKERS=${WORKERS:-64} # one for each GPU of the cluster

export PATH=$HOME/cai/bin:$PATH
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/auth_token RAY_USAGE_STATS_ENABLED=0
cd "$PROJECT"
exec cai build-data --engine ray --address auto --workers "$WORKERS" --model "$MODEL" \
  --batch-size 256 --out runs/default
