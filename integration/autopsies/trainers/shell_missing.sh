#!/bin/bash
# One rank starts a script that there is not.
export RANK="$NODE_INDEX" WORLD_SIZE="$NUM_NODES"
if [ "$RANK" = "$ODD_RANK" ]; then
  exec python trian.py
fi
python plain.py
