"""One rank survives an error and hangs later."""

import time
import traceback

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def read(sample):
    try:
        raise KeyError(sample)
    except KeyError:
        traceback.print_exc()


def synchronise():
    time.sleep(3600)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 2:
            read("sample 17")
        if odd() and step == 5:
            synchronise()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
