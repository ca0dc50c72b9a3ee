"""One rank speaks of peers that are no ranks."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def invite():
    raise RuntimeError("Connection closed by peer review board; NaN replies")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            invite()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
