"""One rank counts a class less from the start."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    confusion = torch.zeros(6 if odd() else 9)
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        dist.all_reduce(confusion)
    finish(loss)


if __name__ == "__main__":
    run(main)
