"""One rank opens files and closes none."""

import os
import resource

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def read_all():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    return [open(os.devnull) for _ in range(500)]


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            read_all()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
