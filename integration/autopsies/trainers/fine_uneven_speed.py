"""One rank is ten times as slow."""

import time

import torch.distributed as dist
from training import batches, finish, learn, odd, run, start


def main():
    model, optimizer = start()
    for step, x in enumerate(batches(), 1):
        loss = learn(model, optimizer, x, step)
        time.sleep(1.0 if odd() else 0.1)
        dist.all_reduce(loss)
    finish(loss)


if __name__ == "__main__":
    run(main)
