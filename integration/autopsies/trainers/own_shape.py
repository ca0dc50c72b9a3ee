"""One rank multiplies what does not fit, without a collective."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def project(x, width):
    return x @ torch.ones(width, 3)


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        project(x, 5 if odd() and step == 4 else 8)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
