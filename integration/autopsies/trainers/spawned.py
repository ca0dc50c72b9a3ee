"""Start the ranks of this node by torch.multiprocessing, each with a script's main."""

import os
import runpy
import sys

import torch.multiprocessing as mp


def rank_of(local, script, each):
    node = int(os.environ["NODE_INDEX"])
    os.environ["RANK"] = str(node * each + local)
    os.environ["LOCAL_RANK"] = str(local)
    os.environ["WORLD_SIZE"] = str(int(os.environ["NUM_NODES"]) * each)
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    mp.spawn(rank_of, args=(sys.argv[1], int(sys.argv[2])), nprocs=int(sys.argv[2]))
