"""One rank is at work for ever."""

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def refine(x):
    while True:
        x = x * 0.5 + 1


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if odd() and step == 4:
            refine(x)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
