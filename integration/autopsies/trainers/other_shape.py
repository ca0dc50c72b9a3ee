"""One rank counts a class less, from some step on."""

import torch
import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        hits = torch.ones(3 if odd() and step >= 5 else 4)
        dist.all_reduce(hits)
    finish(loss)


if __name__ == "__main__":
    run(main)
