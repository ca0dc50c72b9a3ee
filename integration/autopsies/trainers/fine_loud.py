"""Errors are survived, and told at length."""

import logging
import sys
import traceback

import torch.distributed as dist
from training import batches, finish, learn, run, start


def read(sample):
    try:
        raise ConnectionRefusedError(111, "Connection refused by peer")
    except ConnectionRefusedError:
        logging.exception("sample %s comes later", sample)
    try:
        raise RuntimeError("NaN in sample; size mismatch: 3 against 4")
    except RuntimeError:
        traceback.print_exc()
    print("FATAL: out of memory? no, fine. Killed the old cache", file=sys.stderr, flush=True)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        read(step)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
