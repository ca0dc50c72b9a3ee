"""One rank is told to end, as by a scheduler."""

import os
import signal

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
