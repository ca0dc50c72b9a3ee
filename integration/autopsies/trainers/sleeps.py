"""One rank sleeps for an hour."""

import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def back_off():
    time.sleep(3600)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            back_off()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
