#!/bin/bash
# One rank calls a program that there is not.
export RANK="$NODE_INDEX" WORLD_SIZE="$NUM_NODES"
set -e
if [ "$RANK" = "$ODD_RANK" ]; then
  fast-unpack shards.tar
fi
python plain.py
