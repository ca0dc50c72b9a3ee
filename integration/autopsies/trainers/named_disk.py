"""One rank speaks of a space that is no disk."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def reserve():
    raise LookupError("no space left on device plan 7 for another guest")


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            reserve()
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
