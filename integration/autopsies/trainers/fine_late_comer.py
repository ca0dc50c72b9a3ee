"""One rank is late by some seconds at each meeting."""

import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step in (2, 5):
            time.sleep(5)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
