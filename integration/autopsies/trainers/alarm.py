"""One rank set itself an alarm and has no handler."""

import signal
import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def guarded():
    signal.alarm(1)
    time.sleep(5)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            guarded()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
