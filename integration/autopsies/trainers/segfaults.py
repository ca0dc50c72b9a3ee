"""One rank reads where nothing is."""

import ctypes

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def native():
    ctypes.string_at(0)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            native()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
