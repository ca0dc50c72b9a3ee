"""One rank survives an error and ends of another reason later."""

import logging
import sys

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def read(sample):
    try:
        raise ValueError(f"sample {sample} is corrupt")
    except ValueError:
        logging.exception("skipped a sample")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 2:
            read(17)
        if odd() and step == 6:
            print("the licence of this job has run out, giving up", flush=True)
            sys.exit(3)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
