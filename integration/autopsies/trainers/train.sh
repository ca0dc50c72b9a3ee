#!/bin/bash
# Start a script as this node's ranks: SCRIPT RANKS
set -e
export OMP_NUM_THREADS=1
torchrun --nnodes="$NUM_NODES" --node-rank="$NODE_INDEX" --nproc-per-node="$2" \
  --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" "$1"
echo "done"
