#!/bin/bash
# One rank fails behind a pipe, which hides it.
export RANK="$NODE_INDEX" WORLD_SIZE="$NUM_NODES"
python raises.py | tee "train-$RANK.txt"
