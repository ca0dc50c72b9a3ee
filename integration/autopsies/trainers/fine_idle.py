"""Only the first rank evaluates; the others idle."""

import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def evaluate(x):
    until = time.monotonic() + 8
    while time.monotonic() < until:
        x = x * 0.5 + 1


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        if step == 6 and not odd():
            evaluate(x)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
