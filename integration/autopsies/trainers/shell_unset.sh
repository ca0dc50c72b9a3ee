#!/bin/bash
# One rank lacks a variable of its script.
export RANK="$NODE_INDEX" WORLD_SIZE="$NUM_NODES"
set -eu
if [ "$RANK" = "$ODD_RANK" ]; then
  echo "data in $DATA_FOLDER"
fi
python plain.py
